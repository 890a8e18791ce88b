"""WideResNet."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from ppcls_compress.models.families.base import Arch, ArchOptions, Count, Probability


def _of_whole_blocks(depth: int) -> int:
    if depth < 10 or depth % 6 != 4:
        raise ValueError("expected 6 n + 4 layers, such as 10, 16, 22 or 28")
    return depth


class WideResNetOptions(ArchOptions):
    """WideResNet.

    Attributes:
        depth: layers with weights, 6 n + 4.
        widen_factor: width in multiples of 16, 32 and 64 channels.
        dropout: between the convolutions of each block.
    """

    class_num: Count = 10
    depth: Annotated[int, AfterValidator(_of_whole_blocks)] = 28
    widen_factor: Count = 2
    dropout: Probability = 0.0


ARCHS = (Arch("WideResNet", "wide_resnet", "WideResNet", WideResNetOptions),)

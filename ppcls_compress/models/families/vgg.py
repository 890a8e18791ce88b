"""VGG."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ppcls_compress.models.families.base import Arch, ArchOptions, published


class VGGOptions(ArchOptions):
    """VGG.

    Attributes:
        stop_grad_layers: how many of the five blocks of convolutions are not trained, from the first on.
    """

    stop_grad_layers: Annotated[int, Field(ge=0, le=5)] = 0


def _arch(name: str, depth: int, **arguments: object) -> Arch:
    return Arch(name, "vgg", "VGG", VGGOptions, {"depth": depth, **arguments}, published(f"VGG{depth}"))


ARCHS = (
    *(_arch(f"VGG{depth}", depth) for depth in (11, 13, 16, 19)),
    _arch("VGG19Sigmoid", 19, sigmoid=True),
)

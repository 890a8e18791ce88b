"""The networks of AdaFace, which give features of faces."""

from __future__ import annotations

from typing import Literal

from ppcls_compress.models.families.base import Arch, ArchOptions


class AdaFaceOptions(ArchOptions):
    """AdaFace's networks.

    Attributes:
        input_size: height and width of the images.
    """

    input_size: tuple[Literal[112, 224], Literal[112, 224]] = (112, 112)


def _arch(depth: int, *, se: bool) -> Arch:
    name = f"AdaFace_IR_{'SE_' if se else ''}{depth}"
    return Arch(name, "adaface", "AdaFace", AdaFaceOptions, {"depth": depth, "se": se}, backbone=False)


ARCHS = (
    *(_arch(depth, se=False) for depth in (18, 34, 50, 101, 152, 200)),
    *(_arch(depth, se=True) for depth in (50, 101, 152, 200)),
)

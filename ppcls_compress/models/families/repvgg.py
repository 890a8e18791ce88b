"""RepVGG."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, published

_A, _B, _D = (2, 4, 14, 1), (4, 6, 16, 1), (8, 14, 24, 1)
_WIDTHS = {
    "A0": (0.75, 0.75, 0.75, 2.5),
    "A1": (1, 1, 1, 2.5),
    "A2": (1.5, 1.5, 1.5, 2.75),
    "B0": (1, 1, 1, 2.5),
    "B1": (2, 2, 2, 4),
    "B2": (2.5, 2.5, 2.5, 5),
    "B3": (3, 3, 3, 5),
    "D2": (2.5, 2.5, 2.5, 5),
}


def _arch(size: str, depths: tuple[int, ...], suffix: str = "", **arguments: object) -> Arch:
    name = f"RepVGG_{size}{suffix}"
    arguments = {"depths": depths, "widths": _WIDTHS[size], **arguments}
    return Arch(name, "repvgg", "RepVGG", ArchOptions, arguments, published(name, folder=""))


ARCHS = (
    *(_arch(size, _A) for size in ("A0", "A1", "A2")),
    *(_arch(size, _B) for size in ("B0", "B1", "B2", "B3")),
    *(_arch(size, _B, f"g{groups}", groups=groups) for size in ("B1", "B2", "B3") for groups in (2, 4)),
    _arch("D2", _D, "se", se=True),
)

"""Res2Net and Res2Net_vd."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, published


def _arch(name: str, depth: int, **arguments: object) -> Arch:
    return Arch(name, "res2net", "Res2Net", ArchOptions, {"depth": depth, **arguments}, published(name, folder=""))


ARCHS = (
    _arch("Res2Net50_26w_4s", 50, width=26, parts=4),
    _arch("Res2Net50_14w_8s", 50, width=14, parts=8),
    *(_arch(f"Res2Net{depth}_vd_26w_4s", depth, width=26, parts=4, vd=True) for depth in (50, 101, 200)),
)

"""GhostNet."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, published, width


def _arch(scale: float) -> Arch:
    name = f"GhostNet_{width(scale)}"
    return Arch(name, "ghostnet", "GhostNet", ArchOptions, {"scale": scale}, published(name, folder=""))


ARCHS = tuple(_arch(scale) for scale in (0.5, 1.0, 1.3))

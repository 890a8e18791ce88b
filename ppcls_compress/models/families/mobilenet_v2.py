"""MobileNetV2."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, published, width


def _arch(scale: float) -> Arch:
    name = "MobileNetV2" if scale == 1 else f"MobileNetV2_{width(scale)}"
    return Arch(name, "mobilenet_v2", "MobileNetV2", ArchOptions, {"scale": scale}, published(name, folder=""))


ARCHS = tuple(_arch(scale) for scale in (0.25, 0.5, 0.75, 1.0, 1.5, 2.0))

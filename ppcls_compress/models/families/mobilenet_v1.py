"""MobileNetV1."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, published, width


def _arch(scale: float) -> Arch:
    name = "MobileNetV1" if scale == 1 else f"MobileNetV1_{width(scale)}"
    return Arch(name, "mobilenet_v1", "MobileNetV1", ArchOptions, {"scale": scale}, published(name))


ARCHS = tuple(_arch(scale) for scale in (0.25, 0.5, 0.75, 1.0))

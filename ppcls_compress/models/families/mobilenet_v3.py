"""MobileNetV3 small and large."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, Count, Probability, published, width


class MobileNetV3Options(ArchOptions):
    """MobileNetV3 small and large.

    Attributes:
        inplanes: channels of the first convolution before the width factor.
        class_expand: features before the classifier.
        dropout_prob: dropout before the classifier; null for none.
    """

    inplanes: Count = 16
    class_expand: Count = 1280
    dropout_prob: Probability | None = 0.2


def _arch(size: str, scale: float) -> Arch:
    name = f"MobileNetV3_{size}_{width(scale)}"
    arguments = {"size": size, "scale": scale}
    return Arch(name, "mobilenet_v3", "MobileNetV3", MobileNetV3Options, arguments, published(name))


ARCHS = tuple(_arch(size, scale) for size in ("small", "large") for scale in (0.35, 0.5, 0.75, 1.0, 1.25))

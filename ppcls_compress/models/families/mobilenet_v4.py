"""MobileNetV4 without attention."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, Count, Probability, published


class MobileNetV4Options(ArchOptions):
    """MobileNetV4 small and medium.

    Attributes:
        inplanes: channels of the stem.
        class_expand: features before the classifier.
        drop_rate: dropout before the classifier, which PaddleClas makes and does not use.
        drop_path_rate: of the last block, by which whole images lose its branch in training; earlier ones have less.
    """

    inplanes: Count = 32
    class_expand: Count = 1280
    drop_rate: Probability = 0.0
    drop_path_rate: Probability = 0.0


class MobileNetV4LargeOptions(MobileNetV4Options):
    """MobileNetV4 large."""

    inplanes: Count = 24


def _arch(size: str, options: type[MobileNetV4Options]) -> Arch:
    name = f"MobileNetV4_conv_{size}"
    return Arch(name, "mobilenet_v4", "MobileNetV4", options, {"size": size}, published(name))


ARCHS = (
    _arch("small", MobileNetV4Options),
    _arch("medium", MobileNetV4Options),
    _arch("large", MobileNetV4LargeOptions),
)

"""A short MobileNetV3 for 32 x 32 images."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch
from ppcls_compress.models.families.cifar_resnet import CIFARResNetOptions


class CIFARMobileNetV3Options(CIFARResNetOptions):
    """A short MobileNetV3 for 32 x 32 images."""


ARCHS = (Arch("CIFARMobileNetV3", "cifar_mobilenet_v3", "CIFARMobileNetV3", CIFARMobileNetV3Options),)

"""ResNet for 32 x 32 images."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, Count


class CIFARResNetOptions(ArchOptions):
    """ResNet for 32 x 32 images.

    Attributes:
        input_image_channel: channels of the input image.
    """

    class_num: Count = 10
    input_image_channel: Count = 3


ARCHS = tuple(
    Arch(f"CIFARResNet{depth}", "cifar_resnet", "CIFARResNet", CIFARResNetOptions, {"depth": depth})
    for depth in (8, 20, 32, 44, 56, 110)
)

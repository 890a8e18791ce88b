"""The backbones that tests of all families run on."""

import pytest

from ppcls_compress.models import catalog

SMALLEST = (
    "AlexNet",
    "CIFARMobileNetV3",
    "CIFARResNet8",
    "DenseNet121",
    "MobileNetV1_x0_25",
    "MobileNetV2_x0_25",
    "MobileNetV3_small_x0_35",
    "PPHGNet_tiny",
    "PPHGNetV2_B0",
    "PPLCNet_x0_25",
    "PPLCNetV2_small",
    "Res2Net50_26w_4s",
    "ResNet18",
    "ResNet18_vd",
    "SE_ResNet18_vd",
    "SqueezeNet1_1",
    "VGG11",
)
"""The smallest of each native family."""
LARGER = ("CIFARResNet20", "DenseNet161", "MobileNetV3_large_x0_5", "PPHGNet_small", "PPHGNetV2_B4", "PPLCNet_x1_0",
          "PPLCNetV2_base", "Res2Net50_vd_26w_4s", "ResNet34_vd", "ResNet50", "ResNet50_last_stage_stride1",
          "ResNet50_vc", "ResNet50_vd", "ResNet101", "ResNeXt50_32x4d", "ResNeXt50_vd_64x4d", "SE_ResNeXt50_32x4d",
          "SqueezeNet1_0")  # fmt: skip
"""Others of another structure; those that differ in width or depth alone, `benchmarks/pruning_matrix.py` prunes."""
NATIVE = tuple(name for name in catalog.names() if catalog.get(name).module != "vision")
WIDE = ("AlexNet", "VGG11")
"""Their linear layers take images of one size only, and seconds."""
FAMILIES = [pytest.param(name, marks=pytest.mark.slow) if name in WIDE else name for name in SMALLEST]


def side(name, otherwise):
    """Height and width of images for a network that takes any, or the only ones that it takes."""
    return 224 if name in WIDE else otherwise

"""The backbones that tests of all families run on."""

import pytest

from ppcls_compress.models import catalog

SMALLEST = (
    "AlexNet",
    "CIFARMobileNetV3",
    "CIFARResNet8",
    "DenseNet121",
    "EfficientNetB0_small",
    "ESNet_x0_25",
    "GhostNet_x0_5",
    "HRNet_W18_C",
    "MobileNetV1_x0_25",
    "MobileNetV2_x0_25",
    "MobileNetV3_small_x0_35",
    "MobileNetV4_conv_small",
    "PPHGNet_tiny",
    "PPHGNetV2_B0",
    "PPLCNet_x0_25",
    "PPLCNetV2_small",
    "RepVGG_A0",
    "Res2Net50_26w_4s",
    "ResNet18",
    "ResNet18_vd",
    "ResNet50_metabin",
    "SE_ResNet18_vd",
    "ShuffleNetV2_x0_25",
    "SqueezeNet1_1",
    "SwinTransformer_tiny_patch4_window7_224",
    "VGG11",
    "WideResNet",
)
"""The smallest of each native family but Swin Transformer V2, whose layers on constants are no part of a graph."""
LARGER = ("CIFARResNet20", "EfficientNetB1", "ESNet_x1_0", "MobileNetV3_large_x0_5", "MobileNetV4_conv_medium",
          "PPHGNet_small", "PPHGNetV2_B4", "PPLCNet_x1_0", "PPLCNetV2_base", "RepVGG_B1g2", "Res2Net50_vd_26w_4s",
          "ResNet34_vd", "ResNet50", "ResNet50_last_stage_stride1", "ResNet50_vc", "ResNet50_vd", "ResNeXt50_32x4d",
          "ResNeXt50_vd_32x4d", "SE_ResNeXt50_32x4d", "ShuffleNetV2_swish", "SqueezeNet1_0")  # fmt: skip
"""Others of another structure; those that differ in width or depth alone, `benchmarks/pruning_matrix.py` prunes."""
NATIVE = tuple(name for name in catalog.names() if catalog.get(name).module != "vision")
WIDE = ("AlexNet", "VGG11")
"""Their linear layers take images of one size only; `small_classifiers` makes that 64."""
LARGE = (*WIDE, "HRNet_W18_C")
"""What is not exported to ONNX here."""
HEAVY = ("HRNet_W18_C", "ResNet50_metabin", "SwinTransformer_tiny_patch4_window7_224")
"""What takes seconds to run."""
FAMILIES = [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in SMALLEST]


def side(name, otherwise):
    """Height and width of images for a network that takes any, or the only ones that it takes, with few units."""
    return 64 if name in WIDE else otherwise

"""The smallest backbone of each native family: what tests of all families run on."""

from ppcls_compress.models import catalog

SMALLEST = (
    "CIFARMobileNetV3",
    "CIFARResNet8",
    "MobileNetV3_small_x0_35",
    "PPHGNet_tiny",
    "PPHGNetV2_B0",
    "PPLCNet_x0_25",
    "PPLCNetV2_small",
    "ResNet18",
    "ResNet18_vd",
)
LARGER = ("CIFARResNet20", "MobileNetV3_large_x0_5", "PPHGNet_small", "PPHGNetV2_B4", "PPLCNet_x1_0", "PPLCNetV2_base",
          "ResNet34_vd", "ResNet50", "ResNet50_vd", "ResNet50_last_stage_stride1", "ResNet101")  # fmt: skip
"""Larger ones of other structure; those that differ in width or depth alone, `benchmarks/pruning_matrix.py` prunes."""
NATIVE = tuple(name for name in catalog.names() if catalog.get(name).module != "vision")

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
NATIVE = tuple(name for name in catalog.names() if catalog.get(name).module != "vision")

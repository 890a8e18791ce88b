"""MobileNetV3 blocks (Howard et al. 2019) for 32 x 32 images: residuals, depthwise, gates, hard-swish; 7 M FLOPs."""

from __future__ import annotations

from paddle import Tensor, nn

from ppcls_compress.models.families.cifar_mobilenet_v3 import CIFARMobileNetV3Options
from ppcls_compress.models.layers import ConvNormAct
from ppcls_compress.models.mobilenet_v3 import InvertedResidual, Unit

_STEM, _LAST = 16, 160
_UNITS = (
    Unit(3, 32, 16, False, "relu", 1),
    Unit(3, 64, 24, False, "relu", 2),
    Unit(3, 72, 24, True, "relu", 1),
    Unit(5, 96, 40, True, "hardswish", 2),
    Unit(5, 120, 40, True, "hardswish", 1),
    Unit(3, 120, 40, False, "hardswish", 1),
)


class CIFARMobileNetV3(nn.Layer):
    """A short MobileNetV3 whose stem keeps the size.

    Args:
        options: what the config's `Arch` section says.
    """

    def __init__(self, *, options: CIFARMobileNetV3Options | None = None) -> None:
        super().__init__()
        options = options or CIFARMobileNetV3Options()
        channels = _STEM
        self.conv = ConvNormAct(options.input_image_channel, channels, 3, act="hardswish", decay_norm=False)
        blocks = []
        for unit in _UNITS:
            blocks.append(InvertedResidual(channels, unit, 1.0))
            channels = unit.out
        self.blocks = nn.Sequential(*blocks)
        self.last_conv = ConvNormAct(channels, _LAST, 1, act="hardswish", decay_norm=False)
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(_LAST, options.class_num)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] images -> [N, class_num] logits."""
        return self.fc(self.flatten(self.avg_pool(self.last_conv(self.blocks(self.conv(x))))))

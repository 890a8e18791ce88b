"""MobileNetV3 small and large (Howard et al. 2019, tables 1 and 2)."""

from __future__ import annotations

from typing import NamedTuple

from paddle import Tensor, nn

from ppcls_compress.models.families.mobilenet_v3 import MobileNetV3Options
from ppcls_compress.models.layers import ConvNormAct, SqueezeExcite, make_divisible


class Unit(NamedTuple):
    """One row of the paper's table, at width 1."""

    kernel: int
    expanded: int
    out: int
    se: bool
    act: str
    stride: int


_UNITS = {
    "large": (
        Unit(3, 16, 16, False, "relu", 1),
        Unit(3, 64, 24, False, "relu", 2),
        Unit(3, 72, 24, False, "relu", 1),
        Unit(5, 72, 40, True, "relu", 2),
        Unit(5, 120, 40, True, "relu", 1),
        Unit(5, 120, 40, True, "relu", 1),
        Unit(3, 240, 80, False, "hardswish", 2),
        Unit(3, 200, 80, False, "hardswish", 1),
        Unit(3, 184, 80, False, "hardswish", 1),
        Unit(3, 184, 80, False, "hardswish", 1),
        Unit(3, 480, 112, True, "hardswish", 1),
        Unit(3, 672, 112, True, "hardswish", 1),
        Unit(5, 672, 160, True, "hardswish", 2),
        Unit(5, 960, 160, True, "hardswish", 1),
        Unit(5, 960, 160, True, "hardswish", 1),
    ),
    "small": (
        Unit(3, 16, 16, True, "relu", 2),
        Unit(3, 72, 24, False, "relu", 2),
        Unit(3, 88, 24, False, "relu", 1),
        Unit(5, 96, 40, True, "hardswish", 2),
        Unit(5, 240, 40, True, "hardswish", 1),
        Unit(5, 240, 40, True, "hardswish", 1),
        Unit(5, 120, 48, True, "hardswish", 1),
        Unit(5, 144, 48, True, "hardswish", 1),
        Unit(5, 288, 96, True, "hardswish", 2),
        Unit(5, 576, 96, True, "hardswish", 1),
        Unit(5, 576, 96, True, "hardswish", 1),
    ),
}


class InvertedResidual(nn.Layer):
    """Widen by 1 x 1, filter depthwise, gate if `unit.se`, narrow by 1 x 1; a shortcut where the shape stays."""

    def __init__(self, in_channels: int, unit: Unit, scale: float) -> None:
        super().__init__()
        expanded, out = make_divisible(scale * unit.expanded), make_divisible(scale * unit.out)
        self.has_shortcut = unit.stride == 1 and in_channels == out
        self.expand_conv = ConvNormAct(in_channels, expanded, 1, act=unit.act, decay_norm=False)
        self.bottleneck_conv = ConvNormAct(
            expanded, expanded, unit.kernel, stride=unit.stride, groups=expanded, act=unit.act, decay_norm=False
        )
        self.mid_se = SqueezeExcite(expanded, gate_slope=0.2) if unit.se else nn.Identity()
        self.linear_conv = ConvNormAct(expanded, out, 1, act=None, decay_norm=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        y = self.linear_conv(self.mid_se(self.bottleneck_conv(self.expand_conv(x))))
        return x + y if self.has_shortcut else y


class MobileNetV3(nn.Layer):
    """MobileNetV3.

    Args:
        size: "small" or "large".
        scale: width factor; channels are rounded to multiples of 8.
        options: what the config's `Arch` section says.
    """

    def __init__(self, size: str, *, scale: float = 1.0, options: MobileNetV3Options | None = None) -> None:
        super().__init__()
        options = options or MobileNetV3Options()
        units = _UNITS[size]
        channels = make_divisible(options.inplanes * scale)
        self.conv = ConvNormAct(3, channels, 3, stride=2, act="hardswish", decay_norm=False)
        blocks = []
        for unit in units:
            blocks.append(InvertedResidual(channels, unit, scale))
            channels = make_divisible(scale * unit.out)
        self.blocks = nn.Sequential(*blocks)
        squeezed = make_divisible(scale * units[-1].expanded)
        self.last_second_conv = ConvNormAct(channels, squeezed, 1, act="hardswish", decay_norm=False)
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.last_conv = nn.Conv2D(squeezed, options.class_expand, 1, bias_attr=False)
        self.hardswish = nn.Hardswish()
        # Published weights expect the features scaled by 1 - p at inference, not by 1 / (1 - p) in training.
        self.dropout = nn.Dropout(options.dropout_prob or 0.0, mode="downscale_in_infer")
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(options.class_expand, options.class_num)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self.avg_pool(self.last_second_conv(self.blocks(self.conv(x))))
        x = self.dropout(self.hardswish(self.last_conv(x)))
        return self.fc(self.flatten(x))

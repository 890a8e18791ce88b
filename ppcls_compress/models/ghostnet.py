"""GhostNet (Han et al. 2020): half of each layer's channels are cheap depthwise copies of the other half."""

from __future__ import annotations

from typing import NamedTuple

import paddle
from paddle import Tensor, nn

from ppcls_compress.models.families.base import ArchOptions
from ppcls_compress.models.layers import LinearSqueezeExcite, OlderConvNormAct, linear, make_divisible


class _Unit(NamedTuple):
    """One row of the paper's table 1, at width 1."""

    kernel: int
    expanded: int
    out: int
    se: bool
    stride: int


_STEM, _FEATURES = 16, 1280
_UNITS = (
    _Unit(3, 16, 16, False, 1),
    _Unit(3, 48, 24, False, 2),
    _Unit(3, 72, 24, False, 1),
    _Unit(5, 72, 40, True, 2),
    _Unit(5, 120, 40, True, 1),
    _Unit(3, 240, 80, False, 2),
    _Unit(3, 200, 80, False, 1),
    _Unit(3, 184, 80, False, 1),
    _Unit(3, 184, 80, False, 1),
    _Unit(3, 480, 112, True, 1),
    _Unit(3, 672, 112, True, 1),
    _Unit(5, 672, 160, True, 2),
    _Unit(5, 960, 160, False, 1),
    _Unit(5, 960, 160, True, 1),
    _Unit(5, 960, 160, False, 1),
    _Unit(5, 960, 160, True, 1),
)


def _conv(in_channels: int, out_channels: int, kernel: int, **settings: object) -> OlderConvNormAct:
    init = nn.initializer.KaimingNormal()
    return OlderConvNormAct(in_channels, out_channels, kernel, weight_init=init, decay_norm=False, **settings)


class Clip(nn.Layer):
    """min(max(x, 0), 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return paddle.clip(x, 0.0, 1.0)


class GhostModule(nn.Layer):
    """A 1 x 1 convolution, and a depthwise one of its output beside it."""

    def __init__(self, in_channels: int, out_channels: int, act: str | None) -> None:
        super().__init__()
        half = (out_channels + 1) // 2
        self.primary_conv = _conv(in_channels, half, 1, act=act)
        self.cheap_operation = _conv(half, half, 3, groups=half, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H, W]."""
        x = self.primary_conv(x)
        return paddle.concat([x, self.cheap_operation(x)], axis=1)


class GhostBottleneck(nn.Layer):
    """Widen, filter depthwise at stride 2 only, gate if `unit.se`, narrow; both by ghost modules."""

    def __init__(self, in_channels: int, expanded: int, out: int, unit: _Unit) -> None:
        super().__init__()
        self.ghost_module_1 = GhostModule(in_channels, expanded, "relu")
        self.depthwise_conv = nn.Identity()
        if unit.stride == 2:
            self.depthwise_conv = _conv(expanded, expanded, unit.kernel, stride=2, groups=expanded, act=None)
        self.se_block = LinearSqueezeExcite(expanded, reduction=4, gate=Clip()) if unit.se else nn.Identity()
        self.ghost_module_2 = GhostModule(expanded, out, None)
        self.shortcut_depthwise, self.shortcut_conv = nn.Identity(), nn.Identity()
        if unit.stride > 1 or in_channels != out:
            settings = {"stride": unit.stride, "groups": in_channels, "act": None}
            self.shortcut_depthwise = _conv(in_channels, in_channels, unit.kernel, **settings)
            self.shortcut_conv = _conv(in_channels, out, 1, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        y = self.ghost_module_2(self.se_block(self.depthwise_conv(self.ghost_module_1(x))))
        return y + self.shortcut_conv(self.shortcut_depthwise(x))


class GhostNet(nn.Layer):
    """GhostNet.

    Args:
        scale: width factor; channels are rounded to multiples of 4.
        options: what the config's `Arch` section says.
    """

    def __init__(self, scale: float, *, options: ArchOptions | None = None) -> None:
        super().__init__()
        options = options or ArchOptions()
        channels = make_divisible(_STEM * scale, 4)
        self.conv1 = _conv(3, channels, 3, stride=2)
        self.blocks = []
        for index, unit in enumerate(_UNITS):
            expanded, out = make_divisible(unit.expanded * scale, 4), make_divisible(unit.out * scale, 4)
            self.add_sublayer(f"_ghostbottleneck_{index}", GhostBottleneck(channels, expanded, out, unit))
            self.blocks.append(f"_ghostbottleneck_{index}")
            channels = out
        self.conv_last = _conv(channels, expanded, 1)
        self.pool2d_gap = nn.AdaptiveAvgPool2D(1)
        self.fc_0 = _conv(expanded, _FEATURES, 1)
        self.dropout = nn.Dropout(0.2)
        self.flatten = nn.Flatten()
        self.fc_1 = linear(_FEATURES, options.class_num)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self.conv1(x)
        for name in self.blocks:
            x = getattr(self, name)(x)
        x = self.dropout(self.fc_0(self.pool2d_gap(self.conv_last(x))))
        return self.fc_1(self.flatten(x))

"""MobileNetV4 (Qin et al. 2024), the networks without attention: universal inverted bottlenecks."""

from __future__ import annotations

from typing import NamedTuple

from paddle import Tensor, nn

from ppcls_compress.models.families.mobilenet_v4 import MobileNetV4Options
from ppcls_compress.models.layers import ConvNormAct, DropPath


class _Conv(NamedTuple):
    """A convolution: output channels, kernel, stride."""

    out: int
    kernel: int
    stride: int = 1


class _Fused(NamedTuple):
    """A fused inverted bottleneck: output channels, expanded channels, kernel, stride."""

    out: int
    expanded: int
    kernel: int
    stride: int


class _Universal(NamedTuple):
    """A universal inverted bottleneck: kernels of the depthwise convolutions before and after widening, 0 for none."""

    out: int
    expanded: int
    first: int
    middle: int
    stride: int = 1


_LAST = _Conv(960, 1)
_BLOCKS = {
    "small": (
        _Conv(32, 3, 2),
        _Conv(32, 1),
        _Conv(96, 3, 2),
        _Conv(64, 1),
        _Universal(96, 192, 5, 5, 2),
        *(_Universal(96, 192, 0, 3),) * 4,
        _Universal(96, 384, 3, 0),
        _Universal(128, 576, 3, 3, 2),
        _Universal(128, 512, 5, 5),
        _Universal(128, 512, 0, 5),
        _Universal(128, 384, 0, 5),
        *(_Universal(128, 512, 0, 3),) * 2,
        _LAST,
    ),
    "medium": (
        _Fused(48, 128, 3, 2),
        _Universal(80, 192, 3, 5, 2),
        _Universal(80, 160, 3, 3),
        _Universal(160, 480, 3, 5, 2),
        *(_Universal(160, 640, 3, 3),) * 2,
        _Universal(160, 640, 3, 5),
        _Universal(160, 640, 3, 3),
        _Universal(160, 640, 3, 0),
        _Universal(160, 320, 0, 0),
        _Universal(160, 640, 3, 0),
        _Universal(256, 960, 5, 5, 2),
        _Universal(256, 1024, 5, 5),
        *(_Universal(256, 1024, 3, 5),) * 2,
        _Universal(256, 1024, 0, 0),
        _Universal(256, 1024, 3, 0),
        _Universal(256, 512, 3, 5),
        _Universal(256, 1024, 5, 5),
        *(_Universal(256, 1024, 0, 0),) * 2,
        _Universal(256, 512, 5, 0),
        _LAST,
    ),
    "large": (
        _Fused(48, 96, 3, 2),
        _Universal(96, 192, 3, 5, 2),
        _Universal(96, 384, 3, 3),
        _Universal(192, 384, 3, 5, 2),
        *(_Universal(192, 768, 3, 3),) * 3,
        _Universal(192, 768, 3, 5),
        *(_Universal(192, 768, 5, 3),) * 5,
        _Universal(192, 768, 3, 0),
        _Universal(512, 768, 5, 5, 2),
        *(_Universal(512, 2048, 5, 5),) * 3,
        _Universal(512, 2048, 5, 0),
        _Universal(512, 2048, 5, 3),
        *(_Universal(512, 2048, 5, 0),) * 2,
        _Universal(512, 2048, 5, 3),
        _Universal(512, 2048, 5, 5),
        *(_Universal(512, 2048, 5, 0),) * 3,
        _LAST,
    ),
}


class Conv(ConvNormAct):
    """Convolution, batch normalization, activation; the whole of it may be dropped, as PaddleClas does."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, drop_path: float = 0.0, **settings: object
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, decay_norm=False, **settings)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        return self.drop_path(super().forward(x))


class _Residual(nn.Layer):
    """Layers one after another, and a shortcut where the shape stays."""

    def __init__(self, layers: dict[str, nn.Layer], *, shortcut: bool, drop_path: float) -> None:
        super().__init__()
        self.chain = tuple(layers)
        for name, layer in layers.items():
            self.add_sublayer(name, layer)
        self.drop_path = DropPath(drop_path)
        self.has_shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        y = x
        for name in self.chain:
            y = getattr(self, name)(y)
        return x + self.drop_path(y) if self.has_shortcut else y


def _block(in_channels: int, unit: _Conv | _Fused | _Universal, drop_path: float) -> nn.Layer:
    if isinstance(unit, _Conv):
        return Conv(in_channels, unit.out, unit.kernel, stride=unit.stride, drop_path=drop_path)
    shortcut = unit.stride == 1 and in_channels == unit.out
    wide = unit.expanded
    if isinstance(unit, _Fused):
        layers = {
            "conv_exp": Conv(in_channels, wide, unit.kernel, stride=unit.stride),
            "conv_pwl": Conv(wide, unit.out, 1, act=None),
        }
        return _Residual(layers, shortcut=shortcut, drop_path=drop_path)
    layers = {}
    if unit.first:
        layers["dw_start"] = Conv(in_channels, in_channels, unit.first, groups=in_channels, act=None)
    layers["pw_exp"] = Conv(in_channels, wide, 1)
    if unit.middle:
        layers["dw_mid"] = Conv(wide, wide, unit.middle, stride=unit.stride, groups=wide)
    layers["pw_proj"] = Conv(wide, unit.out, 1, act=None)
    return _Residual(layers, shortcut=shortcut, drop_path=drop_path)


class MobileNetV4(nn.Layer):
    """MobileNetV4.

    Args:
        size: "small", "medium" or "large".
        options: what the config's `Arch` section says.
    """

    def __init__(self, size: str, *, options: MobileNetV4Options | None = None) -> None:
        super().__init__()
        options = options or MobileNetV4Options()
        units, channels = _BLOCKS[size], options.inplanes
        self.conv_stem = Conv(3, channels, 3, stride=2)
        blocks = []
        for index, unit in enumerate(units):
            blocks.append(_block(channels, unit, options.drop_path_rate * index / len(units)))
            channels = unit.out
        self.blocks = nn.Sequential(*blocks)
        self.global_pool = nn.AdaptiveAvgPool2D(1)
        self.conv_head = Conv(channels, options.class_expand, 1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(options.drop_rate)
        self.classifier = nn.Linear(options.class_expand, options.class_num)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self.conv_head(self.global_pool(self.blocks(self.conv_stem(x))))
        return self.classifier(self.dropout(self.flatten(x)))

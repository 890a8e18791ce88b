"""DenseNet (Huang et al. 2017): each layer reads all that came before it in its block."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn

from ppcls_compress.models.families.densenet import DenseNetOptions
from ppcls_compress.models.layers import OlderConvNormAct, linear

_SIZES = {
    121: (64, 32, (6, 12, 24, 16)),
    161: (96, 48, (6, 12, 36, 24)),
    169: (64, 32, (6, 12, 32, 32)),
    201: (64, 32, (6, 12, 48, 32)),
    264: (64, 32, (6, 12, 64, 48)),
}
"""Channels of the stem, channels that each layer adds, layers in each block."""


class NormActConv(nn.Layer):
    """Batch normalization, ReLU, convolution."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self._batch_norm = nn.BatchNorm2D(in_channels)
        self.relu = nn.ReLU()
        self._conv = nn.Conv2D(in_channels, out_channels, kernel, padding=kernel // 2, bias_attr=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H, W]."""
        return self._conv(self.relu(self._batch_norm(x)))


class DenseLayer(nn.Layer):
    """Its input, and `growth` new channels made of it."""

    def __init__(self, in_channels: int, growth: int, options: DenseNetOptions) -> None:
        super().__init__()
        self.bn_ac_func1 = NormActConv(in_channels, options.bn_size * growth, 1)
        self.bn_ac_func2 = NormActConv(options.bn_size * growth, growth, 3)
        self.dropout_func = nn.Dropout(options.dropout, mode="downscale_in_infer")

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, in + growth, H, W]."""
        return paddle.concat([x, self.dropout_func(self.bn_ac_func2(self.bn_ac_func1(x)))], axis=1)


class Transition(nn.Layer):
    """Half the channels, height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_ac_func = NormActConv(channels, channels // 2, 1)
        self.pool2d_avg = nn.AvgPool2D(2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C / 2, H / 2, W / 2]."""
        return self.pool2d_avg(self.conv_ac_func(x))


class DenseNet(nn.Layer):
    """DenseNet.

    Args:
        depth: 121, 161, 169, 201 or 264.
        options: what the config's `Arch` section says.
    """

    def __init__(self, depth: int, *, options: DenseNetOptions | None = None) -> None:
        super().__init__()
        options = options or DenseNetOptions()
        channels, growth, blocks = _SIZES[depth]
        self.conv1_func = OlderConvNormAct(3, channels, 7, stride=2)
        self.pool2d_max = nn.MaxPool2D(3, stride=2, padding=1)
        self.trunk = []
        for number, count in enumerate(blocks, start=2):
            layers = []
            for index in range(count):
                layers.append((f"conv{number}_{index + 1}", DenseLayer(channels + index * growth, growth, options)))
            self._add(f"db_conv_{number}", nn.Sequential(*layers))
            channels += count * growth
            if number <= len(blocks):
                self._add(f"tr_conv{number}_blk", Transition(channels))
                channels //= 2
        self.batch_norm = nn.BatchNorm2D(channels)
        self.relu = nn.ReLU()
        self.pool2d_avg = nn.AdaptiveAvgPool2D(1)
        self.flatten = nn.Flatten()
        self.out = linear(channels, options.class_num)

    def _add(self, name: str, layer: nn.Layer) -> None:
        self.add_sublayer(name, layer)
        self.trunk.append(name)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self.pool2d_max(self.conv1_func(x))
        for name in self.trunk:
            x = getattr(self, name)(x)
        return self.out(self.flatten(self.pool2d_avg(self.relu(self.batch_norm(x)))))

"""SqueezeNet (Iandola et al. 2016): 1 x 1 convolutions squeeze, 1 x 1 and 3 x 3 ones side by side expand."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn

from ppcls_compress.models.families.base import ArchOptions

_FIRES = ((16, 128), (16, 128), (32, 256), (32, 256), (48, 384), (48, 384), (64, 512), (64, 512))
"""Channels after squeezing and after expanding."""
_STEMS = {"1_0": (96, 7, 0), "1_1": (64, 3, 1)}
"""Output channels, kernel, padding."""
_POOLED = {"1_0": (3, 7), "1_1": (2, 4)}
"""The fire modules, counted from 1, that pooling follows."""


def _conv(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2D(in_channels, out_channels, kernel, padding=kernel // 2)
    return nn.Sequential(("_conv", conv), ("relu", nn.ReLU()))


class Fire(nn.Layer):
    """Squeeze, then expand by two kernels."""

    def __init__(self, in_channels: int, squeezed: int, out_channels: int) -> None:
        super().__init__()
        self._conv = _conv(in_channels, squeezed, 1)
        self._conv_path1 = _conv(squeezed, out_channels // 2, 1)
        self._conv_path2 = _conv(squeezed, out_channels // 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H, W]."""
        x = self._conv(x)
        return paddle.concat([self._conv_path1(x), self._conv_path2(x)], axis=1)


class SqueezeNet(nn.Layer):
    """SqueezeNet.

    Args:
        version: "1_0" or "1_1".
        options: what the config's `Arch` section says.
    """

    def __init__(self, version: str, *, options: ArchOptions | None = None) -> None:
        super().__init__()
        options = options or ArchOptions()
        channels, kernel, padding = _STEMS[version]
        self._conv = nn.Conv2D(3, channels, kernel, stride=2, padding=padding)
        self._pool = nn.MaxPool2D(3, stride=2)
        self.fires = [f"_conv{index}" for index in range(1, 1 + len(_FIRES))]
        self.pooled = [f"_conv{index}" for index in _POOLED[version]]
        for name, (squeezed, out) in zip(self.fires, _FIRES, strict=True):
            self.add_sublayer(name, Fire(channels, squeezed, out))
            channels = out
        self._drop = nn.Dropout(0.5, mode="downscale_in_infer")
        self._conv9 = nn.Conv2D(channels, options.class_num, 1)
        self.relu = nn.ReLU()
        self._avg_pool = nn.AdaptiveAvgPool2D(1)
        self.flatten = nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits, which are not negative."""
        x = self._pool(self.relu(self._conv(x)))
        for name in self.fires:
            x = getattr(self, name)(x)
            if name in self.pooled:
                x = self._pool(x)
        x = self.relu(self._conv9(self._drop(x)))
        return self.flatten(self._avg_pool(x))

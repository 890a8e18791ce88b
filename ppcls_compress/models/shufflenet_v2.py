"""ShuffleNetV2 (Ma et al. 2018): half of the channels pass each block as they are, then both halves are shuffled."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn

from ppcls_compress.models.families.base import ArchOptions
from ppcls_compress.models.layers import OlderConvNormAct, channel_shuffle

_STEM = 24
_BLOCKS = (4, 8, 4)
_CHANNELS = {
    0.25: (24, 48, 96, 512),
    0.33: (32, 64, 128, 512),
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
"""Channels of the three stages, and before the classifier."""


def _conv(in_channels: int, out_channels: int, kernel: int, **settings: object) -> OlderConvNormAct:
    return OlderConvNormAct(in_channels, out_channels, kernel, weight_init=nn.initializer.KaimingNormal(), **settings)


class ShuffleBlock(nn.Layer):
    """One half passes, the other is convolved."""

    def __init__(self, channels: int, act: str) -> None:
        super().__init__()
        half = channels // 2
        self._conv_pw = _conv(half, half, 1, act=act)
        self._conv_dw = _conv(half, half, 3, groups=half, act=None)
        self._conv_linear = _conv(half, half, 1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        passed, y = paddle.split(x, 2, axis=1)
        y = self._conv_linear(self._conv_dw(self._conv_pw(y)))
        return channel_shuffle(paddle.concat([passed, y], axis=1), 2)


class DownsamplingBlock(nn.Layer):
    """Both halves are made of all channels, at half the height and width."""

    def __init__(self, in_channels: int, out_channels: int, act: str) -> None:
        super().__init__()
        half = out_channels // 2
        self._conv_dw_1 = _conv(in_channels, in_channels, 3, stride=2, groups=in_channels, act=None)
        self._conv_linear_1 = _conv(in_channels, half, 1, act=act)
        self._conv_pw_2 = _conv(in_channels, half, 1, act=act)
        self._conv_dw_2 = _conv(half, half, 3, stride=2, groups=half, act=None)
        self._conv_linear_2 = _conv(half, half, 1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / 2, W / 2]."""
        first = self._conv_linear_1(self._conv_dw_1(x))
        second = self._conv_linear_2(self._conv_dw_2(self._conv_pw_2(x)))
        return channel_shuffle(paddle.concat([first, second], axis=1), 2)


class ShuffleNetV2(nn.Layer):
    """ShuffleNetV2.

    Args:
        scale: width factor: 0.25, 0.33, 0.5, 1.0, 1.5 or 2.0.
        act: activation throughout.
        options: what the config's `Arch` section says.
    """

    def __init__(self, scale: float, *, act: str = "relu", options: ArchOptions | None = None) -> None:
        super().__init__()
        options = options or ArchOptions()
        *stages, features = _CHANNELS[scale]
        self._conv1 = _conv(3, _STEM, 3, stride=2, act=act)
        self._max_pool = nn.MaxPool2D(3, stride=2, padding=1)
        self.blocks, channels = [], _STEM
        for number, (out, count) in enumerate(zip(stages, _BLOCKS, strict=True), start=2):
            for index in range(1, count + 1):
                block = ShuffleBlock(out, act) if index > 1 else DownsamplingBlock(channels, out, act)
                self.add_sublayer(f"{number}_{index}", block)
                self.blocks.append(f"{number}_{index}")
            channels = out
        self._last_conv = _conv(channels, features, 1, act=act)
        self._pool2d_avg = nn.AdaptiveAvgPool2D(1)
        self.flatten = nn.Flatten()
        self._fc = nn.Linear(features, options.class_num)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self._max_pool(self._conv1(x))
        for name in self.blocks:
            x = getattr(self, name)(x)
        return self._fc(self.flatten(self._pool2d_avg(self._last_conv(x))))

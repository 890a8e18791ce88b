"""ESNet (Yu et al. 2021, "PP-PicoDet"): ShuffleNetV2 with gates and ghost blocks."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn

from ppcls_compress.models.families.esnet import ESNetOptions
from ppcls_compress.models.layers import ConvNormAct, SqueezeExcite, channel_shuffle, make_divisible

_STEM, _STAGES, _LAST = 24, ((116, 3), (232, 7), (464, 3)), 1024
"""Channels of the stem, channels at width 1 and blocks of each stage, channels after the last."""


def _conv(in_channels: int, out_channels: int, kernel: int, **settings: object) -> ConvNormAct:
    common = {"act": "hardswish", "decay_norm": False, "weight_init": nn.initializer.KaimingNormal()}
    return ConvNormAct(in_channels, out_channels, kernel, **(common | settings))


class ESBlock(nn.Layer):
    """One half passes; the other is convolved as a ghost module does, gated and narrowed; both are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.pw_1_1 = _conv(half, half, 1)
        self.dw_1 = _conv(half, half, 3, groups=half, act=None)
        self.se = SqueezeExcite(channels)
        self.pw_1_2 = _conv(channels, half, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        passed, y = paddle.split(x, 2, axis=1)
        y = self.pw_1_1(y)
        y = self.pw_1_2(self.se(paddle.concat([y, self.dw_1(y)], axis=1)))
        return channel_shuffle(paddle.concat([passed, y], axis=1), 2)


class ESDownsamplingBlock(nn.Layer):
    """Both halves are made of all channels at half the height and width, and mixed by a separable convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.dw_1 = _conv(in_channels, in_channels, 3, stride=2, groups=in_channels, act=None)
        self.pw_1 = _conv(in_channels, half, 1)
        self.pw_2_1 = _conv(in_channels, half, 1)
        self.dw_2 = _conv(half, half, 3, stride=2, groups=half, act=None)
        self.se = SqueezeExcite(half)
        self.pw_2_2 = _conv(half, half, 1)
        self.concat_dw = _conv(out_channels, out_channels, 3, groups=out_channels)
        self.concat_pw = _conv(out_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / 2, W / 2]."""
        first = self.pw_1(self.dw_1(x))
        second = self.pw_2_2(self.se(self.dw_2(self.pw_2_1(x))))
        return self.concat_pw(self.concat_dw(paddle.concat([first, second], axis=1)))


class ESNet(nn.Layer):
    """ESNet.

    Args:
        scale: width factor; channels are rounded to multiples of 8.
        options: what the config's `Arch` section says.
    """

    def __init__(self, scale: float, *, options: ESNetOptions | None = None) -> None:
        super().__init__()
        options = options or ESNetOptions()
        self.conv1 = _conv(3, _STEM, 3, stride=2)
        self.max_pool = nn.MaxPool2D(3, stride=2, padding=1)
        blocks, channels = [], _STEM
        for width, count in _STAGES:
            out = make_divisible(width * scale)
            blocks += [ESDownsamplingBlock(channels, out), *(ESBlock(out) for _ in range(count - 1))]
            channels = out
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = _conv(channels, _LAST, 1)
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.last_conv = nn.Conv2D(_LAST, options.class_expand, 1, bias_attr=False)
        self.hardswish = nn.Hardswish()
        # Published weights expect the features scaled by 1 - p at inference, not by 1 / (1 - p) in training.
        self.dropout = nn.Dropout(options.dropout_prob, mode="downscale_in_infer")
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(options.class_expand, options.class_num)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self.avg_pool(self.conv2(self.blocks(self.max_pool(self.conv1(x)))))
        x = self.dropout(self.hardswish(self.last_conv(x)))
        return self.fc(self.flatten(x))

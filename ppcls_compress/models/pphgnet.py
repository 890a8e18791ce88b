"""PP-HGNet: plain 3 x 3 convolutions whose outputs are all concatenated at the end of each block (PaddleClas, 2022)."""

from __future__ import annotations

from typing import NamedTuple

import paddle
from paddle import ParamAttr, Tensor, nn

from ppcls_compress.models.families.pphgnet import PPHGNetOptions
from ppcls_compress.models.layers import ConvNormAct


class _Stage(NamedTuple):
    """Channels inside and after each block, and the number of blocks."""

    mid: int
    out: int
    blocks: int


class _Size(NamedTuple):
    """Channels of the stem's three convolutions, convolutions in a block, stages."""

    stem: tuple[int, int, int]
    layers: int
    stages: tuple[_Stage, _Stage, _Stage, _Stage]


_SIZES = {
    "tiny": _Size((48, 48, 96), 5, (_Stage(96, 224, 1), _Stage(128, 448, 1), _Stage(160, 512, 2), _Stage(192, 768, 1))),
    "small": _Size(
        (64, 64, 128), 6, (_Stage(128, 256, 1), _Stage(160, 512, 1), _Stage(192, 768, 2), _Stage(224, 1024, 1))
    ),
    "base": _Size(
        (96, 96, 160), 7, (_Stage(192, 320, 1), _Stage(224, 640, 2), _Stage(256, 960, 3), _Stage(288, 1280, 2))
    ),
}


def _conv(in_channels: int, out_channels: int, kernel: int, **settings: object) -> ConvNormAct:
    init = nn.initializer.KaimingNormal()
    return ConvNormAct(in_channels, out_channels, kernel, decay_norm=False, weight_init=init, **settings)


class EffectiveSqueezeExcite(nn.Layer):
    """Rescales each channel by a sigmoid gate computed from all channels' means in one step (Lee and Park 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        weight_attr = ParamAttr(initializer=nn.initializer.KaimingNormal())
        self.conv = nn.Conv2D(channels, channels, 1, weight_attr=weight_attr)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        return x * self.sigmoid(self.conv(self.avg_pool(x)))


class HGBlock(nn.Layer):
    """A chain of convolutions; its input and all their outputs are concatenated, mixed by 1 x 1 and gated.

    Args:
        identity: add the input at the end; it then needs `out` channels.
    """

    def __init__(self, in_channels: int, stage: _Stage, layers: int, *, identity: bool) -> None:
        super().__init__()
        chain = [_conv(in_channels if index == 0 else stage.mid, stage.mid, 3) for index in range(layers)]
        self.layers = nn.LayerList(chain)
        self.aggregation_conv = _conv(in_channels + layers * stage.mid, stage.out, 1)
        self.att = EffectiveSqueezeExcite(stage.out)
        self.identity = identity

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H, W]."""
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        y = self.att(self.aggregation_conv(paddle.concat(outputs, axis=1)))
        return x + y if self.identity else y


class HGStage(nn.Layer):
    """A depthwise convolution of stride 2, but for the first stage, and blocks."""

    def __init__(self, in_channels: int, stage: _Stage, layers: int, *, downsample: bool) -> None:
        super().__init__()
        if downsample:
            self.downsample = _conv(in_channels, in_channels, 3, stride=2, groups=in_channels, act=None)
        else:
            self.downsample = nn.Identity()
        first = HGBlock(in_channels, stage, layers, identity=False)
        rest = [HGBlock(stage.out, stage, layers, identity=True) for _ in range(stage.blocks - 1)]
        self.blocks = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H, W], or half the height and width with `downsample`."""
        return self.blocks(self.downsample(x))


class PPHGNet(nn.Layer):
    """PP-HGNet.

    Args:
        size: "tiny", "small" or "base".
        options: what the config's `Arch` section says.
    """

    def __init__(self, size: str, *, options: PPHGNetOptions | None = None) -> None:
        super().__init__()
        options = options or PPHGNetOptions()
        config = _SIZES[size]
        stem, channels = [], 3
        for out in config.stem:
            stem.append(_conv(channels, out, 3, stride=1 if stem else 2))
            channels = out
        self.stem = nn.Sequential(*stem)
        self.pool = nn.MaxPool2D(3, stride=2, padding=1)
        stages = []
        for stage in config.stages:
            stages.append(HGStage(channels, stage, config.layers, downsample=bool(stages)))
            channels = stage.out
        self.stages = nn.LayerList(stages)
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.use_last_conv = options.use_last_conv
        if self.use_last_conv:
            weight_attr = ParamAttr(initializer=nn.initializer.KaimingNormal())
            self.last_conv = nn.Conv2D(channels, options.class_expand, 1, weight_attr=weight_attr, bias_attr=False)
            self.act = nn.ReLU()
            # Published weights expect the features scaled by 1 - p at inference, not by 1 / (1 - p) in training.
            self.dropout = nn.Dropout(options.dropout_prob, mode="downscale_in_infer")
            channels = options.class_expand
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, options.class_num)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self.pool(self.stem(x))
        for stage in self.stages:
            x = stage(x)
        x = self.avg_pool(x)
        if self.use_last_conv:
            x = self.dropout(self.act(self.last_conv(x)))
        return self.fc(self.flatten(x))

"""PP-HGNetV2 (PaddleClas, 2023): PP-HGNet with depthwise convolutions in the later stages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import paddle
from paddle import ParamAttr, Tensor, nn

from ppcls_compress.models.families.pphgnet_v2 import PPHGNetV2Options
from ppcls_compress.models.layers import ConvNormAct


class _Stage(NamedTuple):
    """Channels inside and after each block, and the number of blocks."""

    mid: int
    out: int
    blocks: int


class _Size(NamedTuple):
    """Channels inside and after the stem, convolutions in a block, whether activations are affine, stages."""

    stem: tuple[int, int]
    layers: int
    affine: bool
    stages: tuple[_Stage, _Stage, _Stage, _Stage]


_SIZES = {
    "B0": _Size((16, 16), 3, True, (_Stage(16, 64, 1), _Stage(32, 256, 1), _Stage(64, 512, 2), _Stage(128, 1024, 1))),
    "B1": _Size((24, 32), 3, True, (_Stage(32, 64, 1), _Stage(48, 256, 1), _Stage(96, 512, 2), _Stage(192, 1024, 1))),
    "B2": _Size((24, 32), 4, True, (_Stage(32, 96, 1), _Stage(64, 384, 1), _Stage(128, 768, 3), _Stage(256, 1536, 1))),
    "B3": _Size(
        (24, 32), 5, True, (_Stage(32, 128, 1), _Stage(64, 512, 1), _Stage(128, 1024, 3), _Stage(256, 2048, 1))
    ),
    "B4": _Size(
        (32, 48), 6, False, (_Stage(48, 128, 1), _Stage(96, 512, 1), _Stage(192, 1024, 3), _Stage(384, 2048, 1))
    ),
    "B5": _Size(
        (32, 64), 6, False, (_Stage(64, 128, 1), _Stage(128, 512, 2), _Stage(256, 1024, 5), _Stage(512, 2048, 2))
    ),
    "B6": _Size(
        (48, 96), 6, False, (_Stage(96, 192, 2), _Stage(192, 512, 3), _Stage(384, 1024, 6), _Stage(768, 2048, 3))
    ),
}
_LIGHT_FROM = 2
"""Index of the first stage of light blocks, whose kernels are 5 x 5."""


class AffineActivation(nn.Layer):
    """scale * x + bias with one trained number each, which learn at a hundredth of the rate."""

    def __init__(self, lr_mult: float = 1.0) -> None:
        super().__init__()
        attr = partial(ParamAttr, learning_rate=0.01 * lr_mult)
        self.scale = self.create_parameter([1], attr=attr(initializer=nn.initializer.Constant(1.0)))
        self.bias = self.create_parameter([1], attr=attr(initializer=nn.initializer.Constant(0.0)))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return self.scale * x + self.bias


class Conv(ConvNormAct):
    """Convolution, batch normalization, activation, and with `affine` its scale and shift."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, affine: bool, lr_mult: float, **settings: object
    ) -> None:
        common = {"decay_norm": False, "weight_init": nn.initializer.KaimingNormal(), "lr_mult": lr_mult}
        super().__init__(in_channels, out_channels, kernel, **common, **settings)
        self.lab = AffineActivation(lr_mult) if affine else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        return self.lab(super().forward(x))


class LightConv(nn.Layer):
    """A 1 x 1 convolution without activation, then a depthwise one."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, affine: bool, lr_mult: float) -> None:
        super().__init__()
        self.conv1 = Conv(in_channels, out_channels, 1, act=None, affine=False, lr_mult=lr_mult)
        self.conv2 = Conv(out_channels, out_channels, kernel, groups=out_channels, affine=affine, lr_mult=lr_mult)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H, W]."""
        return self.conv2(self.conv1(x))


class Stem(nn.Layer):
    """To a quarter of the height and width; one half of the channels is pooled, the other convolved."""

    def __init__(self, mid: int, out: int, **common: object) -> None:
        super().__init__()
        self.stem1 = Conv(3, mid, 3, stride=2, **common)
        self.stem2a = Conv(mid, mid // 2, 2, padding="SAME", **common)
        self.stem2b = Conv(mid // 2, mid, 2, padding="SAME", **common)
        self.stem3 = Conv(2 * mid, mid, 3, stride=2, **common)
        self.stem4 = Conv(mid, out, 1, **common)
        self.pool = nn.MaxPool2D(2, stride=1, padding="SAME", ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, out, H / 4, W / 4]."""
        x = self.stem1(x)
        x = paddle.concat([self.pool(x), self.stem2b(self.stem2a(x))], axis=1)
        return self.stem4(self.stem3(x))


class HGBlock(nn.Layer):
    """A chain of convolutions; its input and all their outputs are concatenated and mixed by two 1 x 1 convolutions.

    Args:
        conv: makes a convolution of the chain from the channels of its input and output.
        identity: add the input at the end; it then needs `out` channels.
    """

    def __init__(
        self,
        in_channels: int,
        stage: _Stage,
        layers: int,
        conv: Callable[[int, int], nn.Layer],
        *,
        identity: bool,
        **common: object,
    ) -> None:
        super().__init__()
        self.layers = nn.LayerList([conv(stage.mid if index else in_channels, stage.mid) for index in range(layers)])
        self.aggregation_squeeze_conv = Conv(in_channels + layers * stage.mid, stage.out // 2, 1, **common)
        self.aggregation_excitation_conv = Conv(stage.out // 2, stage.out, 1, **common)
        self.identity = identity

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H, W]."""
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        y = self.aggregation_excitation_conv(self.aggregation_squeeze_conv(paddle.concat(outputs, axis=1)))
        return x + y if self.identity else y


class HGStage(nn.Layer):
    """A depthwise convolution of stride 2, but for the first stage, and blocks."""

    def __init__(self, in_channels: int, stage: _Stage, layers: int, *, index: int, **common: object) -> None:
        super().__init__()
        if index > 0:
            settings = {**common, "affine": False}
            self.downsample = Conv(in_channels, in_channels, 3, stride=2, groups=in_channels, act=None, **settings)
        else:
            self.downsample = nn.Identity()
        light = index >= _LIGHT_FROM
        conv = partial(LightConv if light else Conv, kernel=5 if light else 3, **common)
        first = HGBlock(in_channels, stage, layers, conv, identity=False, **common)
        rest = [HGBlock(stage.out, stage, layers, conv, identity=True, **common) for _ in range(stage.blocks - 1)]
        self.blocks = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H, W], or half the height and width but for the first stage."""
        return self.blocks(self.downsample(x))


class PPHGNetV2(nn.Layer):
    """PP-HGNetV2.

    Args:
        size: "B0" to "B6".
        options: what the config's `Arch` section says.
    """

    def __init__(self, size: str, *, options: PPHGNetV2Options | None = None) -> None:
        super().__init__()
        options = options or PPHGNetV2Options()
        config, rates = _SIZES[size], options.lr_mult_list
        self.stem = Stem(*config.stem, affine=config.affine, lr_mult=rates[0])
        self.stages, channels = nn.LayerList(), config.stem[1]
        for index, stage in enumerate(config.stages):
            common = {"affine": config.affine, "lr_mult": rates[index + 1]}
            self.stages.append(HGStage(channels, stage, config.layers, index=index, **common))
            channels = stage.out
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.use_last_conv = options.use_last_conv
        if self.use_last_conv:
            weight_attr = ParamAttr(initializer=nn.initializer.KaimingNormal())
            self.last_conv = nn.Conv2D(channels, options.class_expand, 1, weight_attr=weight_attr, bias_attr=False)
            self.act = nn.ReLU()
            self.lab = AffineActivation() if config.affine else nn.Identity()
            # Published weights expect the features scaled by 1 - p at inference, not by 1 / (1 - p) in training.
            self.dropout = nn.Dropout(options.dropout_prob, mode="downscale_in_infer")
            channels = options.class_expand
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, options.class_num)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        x = self.avg_pool(x)
        if self.use_last_conv:
            x = self.dropout(self.lab(self.act(self.last_conv(x))))
        return self.fc(self.flatten(x))

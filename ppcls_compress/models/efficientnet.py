"""EfficientNet (Tan and Le 2019): MobileNetV2's blocks with gates, scaled in width, depth and resolution together."""

from __future__ import annotations

import math
from typing import NamedTuple

from paddle import Tensor, nn

from ppcls_compress.models.families.efficientnet import EfficientNetOptions
from ppcls_compress.models.layers import DropPath, make_divisible


class _Stage(NamedTuple):
    """One row of the paper's table 1, at width and depth 1."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    out: int


_STEM, _FEATURES = 32, 1280
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def _padding(side: int, kernel: int, stride: int, kind: str) -> list[int]:
    """Zeros at the top, the bottom, the left and the right of a map of `side` by `side`.

    With "SAME" they are TensorFlow's for the side that the published network was trained with, whatever the image's:
    what the stride leaves over goes to the bottom and the right. PaddleClas then pads a stride more there, which gives
    an image of another size one more position.
    """
    if kind == "DYNAMIC":
        return [(stride - 1 + kernel - 1) // 2] * 4
    total = max(kernel - (side % stride or stride), 0)
    before, after = total // 2, total - total // 2
    if before != after:
        after = before + stride
    return [before, after, before, after]


class _Builder(NamedTuple):
    """What all convolutions of a network share."""

    kind: str
    momentum: float
    epsilon: float

    def conv(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int, groups: int, side: int
    ) -> nn.Layer:
        """A convolution and its batch norm, under PaddleClas' names."""
        padding = _padding(side, kernel, stride, self.kind)
        conv = nn.Conv2D(
            in_channels, out_channels, kernel, stride=stride, padding=padding, groups=groups, bias_attr=False
        )
        norm = nn.BatchNorm2D(out_channels, momentum=self.momentum, epsilon=self.epsilon)
        return nn.Sequential(("_conv", nn.Sequential(("_conv", conv))), ("_bn", norm))

    def named(self, *channels: int, kernel: int = 1, stride: int = 1, groups: int = 1, side: int = 1) -> nn.Sequential:
        """`conv`, one level down, as those of the blocks and the stem are."""
        return nn.Sequential(("_conv", self.conv(*channels, kernel, stride=stride, groups=groups, side=side)))


class Gate(nn.Layer):
    """`SqueezeExcite` with swish, a sigmoid gate and the squeezed channels given."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self._pool = nn.AdaptiveAvgPool2D(1)
        self._conv1 = nn.Sequential(("_conv", nn.Conv2D(channels, squeezed, 1)), ("act", nn.Swish()))
        self._conv2 = nn.Sequential(("_conv", nn.Conv2D(squeezed, channels, 1)), ("act", nn.Sigmoid()))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        return x * self._conv2(self._conv1(self._pool(x)))


class MBConv(nn.Layer):
    """Widen by 1 x 1, filter depthwise, gate, narrow by 1 x 1; a shortcut where the shape stays."""

    def __init__(
        self,
        channels: tuple[int, int],
        stage: _Stage,
        build: _Builder,
        *,
        stride: int,
        side: int,
        se: bool,
        drop_path: float,
    ) -> None:
        super().__init__()
        in_channels, out = channels
        expanded = in_channels * stage.expansion
        self._ecn = build.named(in_channels, expanded) if stage.expansion > 1 else nn.Identity()
        self._dcn = build.named(expanded, expanded, kernel=stage.kernel, stride=stride, groups=expanded, side=side)
        self._se = Gate(expanded, max(1, in_channels // 4)) if se else nn.Identity()
        self._pcn = build.named(expanded, out)
        self.swish = nn.Swish()
        self.drop_path = DropPath(drop_path)
        self.widens, self.has_shortcut = stage.expansion > 1, stride == 1 and in_channels == out

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        y = self.swish(self._ecn(x)) if self.widens else x
        y = self._pcn(self._se(self.swish(self._dcn(y))))
        return x + self.drop_path(y) if self.has_shortcut else y


class Features(nn.Layer):
    """Stem and blocks."""

    def __init__(self, width: float, depth: float, side: int, build: _Builder, options: EfficientNetOptions) -> None:
        super().__init__()
        channels = make_divisible(_STEM * width)
        self._conv_stem = build.named(3, channels, kernel=3, stride=2, side=side)
        self.swish = nn.Swish()
        side = math.ceil(side / 2)
        counts = [math.ceil(depth * stage.blocks) for stage in _STAGES]
        self.blocks = []
        for stage, count in zip(_STAGES, counts, strict=True):
            out = make_divisible(stage.out * width)
            for index in range(count):
                stride = stage.stride if index == 0 else 1
                rate = options.override_params.drop_connect_rate * len(self.blocks) / sum(counts)
                block = MBConv(
                    (channels, out), stage, build, stride=stride, side=side, se=options.use_se, drop_path=rate
                )
                # PaddleClas calls the first block of a stage so, and the others so.
                name = f"{'block' if index else '_blocks'}.{len(self.blocks)}."
                self.add_sublayer(name, block)
                self.blocks.append(name)
                channels, side = out, math.ceil(side / stride)
        self.channels, self.side = channels, side

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, C, H / 32, W / 32]."""
        x = self.swish(self._conv_stem(x))
        for name in self.blocks:
            x = getattr(self, name)(x)
        return x


def _classifier(features: int, hidden: tuple[int, ...], class_num: int) -> nn.Layer:
    layers = []
    for width in hidden:
        layers += [nn.Linear(features, width), nn.ReLU(), *([] if layers else [nn.Dropout(0.3)])]
        features = width
    last = nn.Linear(features, class_num)
    return nn.Sequential(*layers, last) if hidden else last


class EfficientNet(nn.Layer):
    """EfficientNet.

    Args:
        width: width factor; channels are rounded to multiples of 8.
        depth: depth factor; numbers of blocks are rounded up.
        side: height and width of the images that the published network was trained with.
        dropout: before the classifier, unless the options say otherwise.
        hidden: widths of layers before the classifier, each followed by a ReLU.
        options: what the config's `Arch` section says.
    """

    def __init__(
        self,
        width: float,
        depth: float,
        side: int,
        dropout: float = 0.2,
        *,
        hidden: tuple[int, ...] = (),
        options: EfficientNetOptions | None = None,
    ) -> None:
        super().__init__()
        options = options or EfficientNetOptions()
        override = options.override_params
        build = _Builder(options.padding_type, override.batch_norm_momentum, override.batch_norm_epsilon)
        self._ef = Features(width, depth, side, build, options)
        features = make_divisible(_FEATURES * width)
        self._conv = build.conv(self._ef.channels, features, 1, stride=1, groups=1, side=self._ef.side)
        self.swish = nn.Swish()
        self._pool = nn.AdaptiveAvgPool2D(1)
        self._drop = nn.Dropout(dropout if override.dropout_rate is None else override.dropout_rate)
        self.flatten = nn.Flatten()
        self._fc = _classifier(features, hidden, options.class_num)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self._pool(self.swish(self._conv(self._ef(x))))
        return self._fc(self.flatten(self._drop(x)))

"""The pieces that several backbone families share. Sublayer names are PaddleClas', for its weights to load."""

from __future__ import annotations

import math
from typing import Any

import paddle
from paddle import ParamAttr, Tensor, nn
from paddle.nn import functional as F
from paddle.regularizer import L2Decay

ACTIVATIONS = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "swish": nn.Swish,
    None: nn.Identity,
}


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `value`, at least `divisor` and never below 90% of `value`."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def conv_and_norm(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    stride: int | tuple[int, int] = 1,
    groups: int = 1,
    padding: str | None = None,
    lr_mult: float = 1.0,
    decay_norm: bool = True,
    weight_init: nn.initializer.Initializer | None = None,
    data_format: str = "NCHW",
) -> tuple[nn.Conv2D, nn.BatchNorm2D]:
    """A convolution without bias and its batch normalization; odd kernels keep the size at stride 1.

    Args:
        padding: "SAME", with which even kernels keep the size too.
        lr_mult: factor on the learning rate of every parameter.
        decay_norm: whether the optimizer's weight decay applies to the normalization's parameters.
        weight_init: initializer of the convolution; Paddle's own by default.
    """
    conv = nn.Conv2D(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=(kernel - 1) // 2 if padding is None else padding,
        groups=groups,
        weight_attr=ParamAttr(initializer=weight_init, learning_rate=lr_mult),
        bias_attr=False,
        data_format=data_format,
    )
    decay = None if decay_norm else L2Decay(0.0)
    norm = nn.BatchNorm2D(
        out_channels,
        weight_attr=ParamAttr(learning_rate=lr_mult, regularizer=decay),
        bias_attr=ParamAttr(learning_rate=lr_mult, regularizer=decay),
        data_format=data_format,
    )
    return conv, norm


class ConvNormAct(nn.Layer):
    """Convolution, batch normalization, activation; `settings` are those of `conv_and_norm`."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, act: str | None = "relu", **settings: Any
    ) -> None:
        super().__init__()
        self.conv, self.bn = conv_and_norm(in_channels, out_channels, kernel, **settings)
        self.act = ACTIVATIONS[act]()

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        return self.act(self.bn(self.conv(x)))


class OlderConvNormAct(nn.Layer):
    """`ConvNormAct` under the names that PaddleClas' older networks have."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, act: str | None = "relu", **settings: Any
    ) -> None:
        super().__init__()
        self._conv, self._batch_norm = conv_and_norm(in_channels, out_channels, kernel, **settings)
        self._act = ACTIVATIONS[act]()

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        return self._act(self._batch_norm(self._conv(x)))


class HardSigmoid(nn.Layer):
    """clip(slope * x + 0.5, 0, 1); Paddle's own layer has a fixed slope."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return nn.functional.hardsigmoid(x, slope=self.slope, offset=0.5)


class SqueezeExcite(nn.Layer):
    """Rescales each channel by a gate computed from all channels' means (Hu et al. 2018).

    Args:
        gate_slope: slope of the hard sigmoid, clip(slope * x + 0.5, 0, 1); None for a sigmoid.
    """

    def __init__(
        self, channels: int, *, reduction: int = 4, gate_slope: float | None = 1 / 6, lr_mult: float = 1.0
    ) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.conv1 = self._dense(channels, channels // reduction, lr_mult)
        self.relu = nn.ReLU()
        self.conv2 = self._dense(channels // reduction, channels, lr_mult)
        self.gate = nn.Sigmoid() if gate_slope is None else HardSigmoid(gate_slope)

    @staticmethod
    def _dense(in_channels: int, out_channels: int, lr_mult: float) -> nn.Conv2D:
        weight, bias = ParamAttr(learning_rate=lr_mult), ParamAttr(learning_rate=lr_mult)
        return nn.Conv2D(in_channels, out_channels, 1, weight_attr=weight, bias_attr=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        return x * self.gate(self.conv2(self.relu(self.conv1(self.avg_pool(x)))))


class LinearSqueezeExcite(nn.Layer):
    """`SqueezeExcite` of linear layers, with a sigmoid gate by default.

    Args:
        names: of the two linear layers.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        gate: nn.Layer | None = None,
        names: tuple[str, str] = ("squeeze", "excitation"),
        data_format: str = "NCHW",
    ) -> None:
        super().__init__()
        self.pool2d_gap = nn.AdaptiveAvgPool2D(1, data_format=data_format)
        self.flatten = nn.Flatten()
        self.names = names
        self.add_sublayer(names[0], linear(channels, channels // reduction))
        self.relu = nn.ReLU()
        self.add_sublayer(names[1], linear(channels // reduction, channels))
        self.gate = gate or nn.Sigmoid()
        self.spatial = [1, 2] if data_format == "NHWC" else [2, 3]

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        squeeze, excitation = (getattr(self, name) for name in self.names)
        y = excitation(self.relu(squeeze(self.flatten(self.pool2d_gap(x)))))
        return x * paddle.unsqueeze(self.gate(y), axis=self.spatial)


class Suffixed(nn.Layer):
    """A layer and the function of its output, as PaddleClas' variants of networks have them."""

    def __init__(self, layer: nn.Layer, suffix: nn.Layer) -> None:
        super().__init__()
        self.origin_layer = layer
        self.suffix = suffix

    def forward(self, x: Tensor) -> Tensor:
        """What the layer takes -> what it gives."""
        return self.suffix(self.origin_layer(x))


class DropPath(nn.Layer):
    """In training, zeroes a branch for some images, and scales it for the others (Huang et al. 2016).

    Attributes:
        p: probability of zero; the others are divided by 1 - p.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """[N, ...] -> the same shape."""
        return F.dropout(x, self.p, axis=0, training=self.training) if self.p else x


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """[N, C, H, W] -> the same shape: one channel of each group in turn (Zhang et al. 2018)."""
    _, channels, height, width = x.shape
    x = paddle.reshape(x, [0, groups, channels // groups, height, width])
    return paddle.reshape(paddle.transpose(x, [0, 2, 1, 3, 4]), [0, channels, height, width])


def uniform(fan_in: int) -> ParamAttr:
    """A parameter that starts uniform within 1 / sqrt(fan_in)."""
    bound = 1 / math.sqrt(fan_in)
    return ParamAttr(initializer=nn.initializer.Uniform(-bound, bound))


def linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer whose weight starts `uniform`."""
    return nn.Linear(in_features, out_features, weight_attr=uniform(in_features))

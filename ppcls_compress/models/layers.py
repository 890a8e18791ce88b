"""The pieces that several backbone families share. Sublayer names are PaddleClas', for its weights to load."""

from __future__ import annotations

from paddle import ParamAttr, Tensor, nn
from paddle.regularizer import L2Decay

ACTIVATIONS = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hardswish": nn.Hardswish, None: nn.Identity}


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `value`, at least `divisor` and never below 90% of `value`."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class ConvNormAct(nn.Layer):
    """Convolution without bias, batch normalization, activation; odd kernels keep the size at stride 1.

    Args:
        padding: "SAME", with which even kernels keep the size too.
        lr_mult: factor on the learning rate of every parameter in it.
        decay_norm: whether the optimizer's weight decay applies to the normalization's parameters.
        weight_init: initializer of the convolution; Paddle's own by default.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int | tuple[int, int] = 1,
        groups: int = 1,
        padding: str | None = None,
        act: str | None = "relu",
        lr_mult: float = 1.0,
        decay_norm: bool = True,
        weight_init: nn.initializer.Initializer | None = None,
        data_format: str = "NCHW",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2D(
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
        self.bn = nn.BatchNorm2D(
            out_channels,
            weight_attr=ParamAttr(learning_rate=lr_mult, regularizer=decay),
            bias_attr=ParamAttr(learning_rate=lr_mult, regularizer=decay),
            data_format=data_format,
        )
        self.act = ACTIVATIONS[act]()

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        return self.act(self.bn(self.conv(x)))


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

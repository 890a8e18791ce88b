"""Small networks, images [N, 3, 16, 16] to anything, that together use every operator that has a form for oneDNN."""

import functools

import numpy as np
import paddle
from paddle import nn

CHANNELS, SIZE = 3, 16
EXACT = 5e-3
"""Only values next to a rounding boundary differ, other ones on each processor. A range in the wrong place makes more
than ten times as much of a `difference`."""


def difference(found, expected):
    """Of all answers on average, as a share of how large they are."""
    return np.abs(found - expected).mean() / np.abs(expected).mean()


def block(inputs, outputs, kernel=3, act=None, groups=1):
    layers = [nn.Conv2D(inputs, outputs, kernel, padding=kernel // 2, groups=groups), nn.BatchNorm2D(outputs)]
    return nn.Sequential(*layers, *([act()] if act else []))


class Residual(nn.Layer):
    """What is rounded for a convolution must reach the sum as it was."""

    def __init__(self, act):
        super().__init__()
        self.stem, self.left, self.right = block(3, 16, act=act), block(16, 16, act=act), block(16, 16)
        self.linear, self.last = block(16, 16), block(16, 8)
        self.act = act()

    def forward(self, x):
        x = self.stem(x)
        x = self.act(x + self.right(self.left(x)))
        x = self.linear(x)
        return self.last(x) + x[:, :8]


class Joined(nn.Layer):
    """Concatenation of tensors with ranges of their own, and two layers with different ranges on one tensor."""

    def __init__(self):
        super().__init__()
        self.a, self.b = block(3, 16, act=nn.ReLU), block(16, 16, act=nn.ReLU)
        self.c, self.d = block(32, 8, 1), block(32, 8, 1)

    def forward(self, x):
        a = self.a(x)
        joined = paddle.concat([a, self.b(a)], axis=1)
        return self.c(joined) * self.d(joined)


class Gated(nn.Layer):
    """A mean whose range is far below that of what it is taken of."""

    def __init__(self):
        super().__init__()
        self.stem, self.deep = block(3, 16, act=nn.Hardswish), block(16, 16, act=nn.Hardswish, groups=16)
        self.pool, self.gate = nn.AdaptiveAvgPool2D(1), nn.Conv2D(16, 16, 1)
        self.last = block(16, 8, 1)

    def forward(self, x):
        x = self.deep(self.stem(x))
        return self.last(x * nn.functional.hardsigmoid(self.gate(self.pool(x))))


class Between(nn.Layer):
    """An operation between two quantized convolutions."""

    def __init__(self, operation, channels=16):
        super().__init__()
        self.first, self.last = block(3, 16, act=nn.ReLU), block(channels, 8)
        self.operation = operation

    def forward(self, x):
        return self.last(self.operation(self.first(x)))


class FloatLinear(nn.Layer):
    """A linear layer that is not quantized, and class probabilities."""

    def __init__(self):
        super().__init__()
        self.first, self.last = block(3, 16, act=nn.ReLU), nn.Linear(16, 5)
        self.last.skip_quant = True

    def forward(self, x):
        return nn.functional.softmax(self.last(self.first(x).mean([2, 3])))


def attention(x):
    tokens = x.flatten(2)
    weights = nn.functional.softmax(paddle.matmul(tokens, tokens, transpose_y=True))
    return paddle.matmul(weights, tokens).reshape([-1, 16, SIZE, SIZE])


OPERATIONS = {
    "mean": lambda x: x * x.mean([2, 3], keepdim=True),
    "mean_of_last_axes": lambda x: x * x.mean([-1, -2], keepdim=True),
    "mean_without_axes": lambda x: x.mean([2, 3]).unsqueeze([2, 3]),
    "mean_of_channels": lambda x: x * x.mean(1, keepdim=True),
    "sigmoid": lambda x: x * nn.functional.sigmoid(x),
    "swish": nn.functional.swish,
    "silu": nn.functional.silu,
    "hardsigmoid": nn.functional.hardsigmoid,
    "leaky_relu": lambda x: nn.functional.leaky_relu(x - 1, 0.1),
    "clip": lambda x: x * paddle.clip(x.mean([2, 3], keepdim=True), 0.1, 0.5),
    "softmax": lambda x: nn.functional.softmax(x, axis=1),
    "matmul": attention,
    "scale": lambda x: 2 * x - 1,
    "norm": nn.BatchNorm2D(16),
    "full_like": lambda x: x + paddle.full_like(x, 0.5),
    "full": lambda x: x + paddle.full([1, 16, 1, 1], 0.5),
    "full_per_image": lambda x: x + paddle.full([x.shape[0], 16, 1, 1], 0.5),
    "shuffle": lambda x: x.reshape([-1, 2, 8, SIZE, SIZE]).transpose([0, 2, 1, 3, 4]).reshape([-1, 16, SIZE, SIZE]),
    "transpose_by_last_axes": lambda x: x.transpose([0, 1, -1, -2]),
    "squeeze": lambda x: x * x.mean([2, 3], keepdim=True).squeeze([2, 3]).unsqueeze(-1).unsqueeze(-1),
    "split": lambda x: paddle.concat(paddle.split(x, [4, 12], axis=1)[::-1], axis=1),
    "split_with_num": lambda x: paddle.concat(paddle.split(x, 2, axis=-3)[::-1], axis=-3),
    "slice": lambda x: paddle.concat([x[:, -8:], x[:, :-8]], axis=1),
    "strided_slice": lambda x: x[:, :, ::2, 1::2],
    "pad": lambda x: nn.functional.pad(x[:, :8], [0, 0, 4, 4, 0, 0, 0, 0]),
    "pad3d": lambda x: nn.functional.pad(x, [1, 2, 1, 0], value=0.5),
}
NETWORKS = {
    "relu": lambda: nn.Sequential(block(3, 16, act=nn.ReLU), block(16, 8)),
    "relu6": lambda: nn.Sequential(block(3, 16, act=nn.ReLU6), block(16, 8)),
    "leaky_relu_after": lambda: nn.Sequential(block(3, 16, act=functools.partial(nn.LeakyReLU, 0.1)), block(16, 8)),
    "residual": lambda: Residual(nn.ReLU),
    "residual_hardswish": lambda: Residual(nn.Hardswish),
    "joined": Joined,
    "gated": Gated,
    "max_pool": lambda: nn.Sequential(block(3, 16, act=nn.ReLU), nn.MaxPool2D(3, 2, 1), block(16, 8)),
    "average_pool": lambda: nn.Sequential(block(3, 16, act=nn.ReLU), nn.AvgPool2D(2), block(16, 8)),
    # As many inputs as outputs: Paddle's own reading of such a weight takes the wrong axis.
    "linear": lambda: nn.Sequential(
        block(3, 16, act=nn.ReLU), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 5)
    ),
    "dropout": lambda: nn.Sequential(
        block(3, 16, act=nn.ReLU), nn.Dropout(0.5), nn.Dropout(0.5, mode="downscale_in_infer"), block(16, 8)
    ),
    "dropout_before_linear": lambda: nn.Sequential(
        block(3, 16, act=nn.ReLU), nn.AdaptiveAvgPool2D(1), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 5)
    ),
    "depthwise": lambda: nn.Sequential(block(3, 16, act=nn.ReLU), block(16, 16, groups=16), block(16, 8)),
    "float_linear": FloatLinear,
} | {name: functools.partial(Between, operation) for name, operation in OPERATIONS.items()}

"""A small network with everything that an integer graph rounds, and helpers to quantize it with `placement: deploy`."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.models.layers import ConvNormAct
from ppcls_compress.models.mobilenet_v3 import InvertedResidual, Unit
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

SHAPE = (3, 12, 12)
INPUTS = [[1, *SHAPE]]


class Joined(nn.Layer):
    """Concatenates its input and a convolution of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ConvNormAct(channels, channels, 3)

    def forward(self, x):
        return paddle.concat([x, self.conv(x)], axis=1)


class Placed(nn.Layer):
    """Residual, depthwise, gate, hard-swish, max pooling, concatenation with two readers, sum with ReLU, classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, 8, 3, stride=2, act="hardswish")
        self.block = InvertedResidual(8, Unit(3, 16, 8, True, "hardswish", 1), 1.0)
        self.pool = nn.MaxPool2D(2)
        self.joined = Joined(8)
        self.left = ConvNormAct(16, 8, 1, act=None)
        self.right = ConvNormAct(16, 8, 1, act=None)
        self.relu = nn.ReLU()
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.joined(self.pool(self.block(self.stem(x))))
        return self.fc(self.flatten(self.avg_pool(self.relu(self.left(x) + self.right(x)))))


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *SHAPE), np.float32)


def placed_network(seed: int = 0) -> nn.Layer:
    """With batch norms that have seen data."""
    paddle.seed(seed)
    net = Placed()
    with paddle.no_grad():
        for step in range(20):
            net(paddle.to_tensor(images(16, step)))
    net.eval()
    return net


def prepared(options: QuantOptions, net: nn.Layer | None = None) -> tuple[nn.Layer, dict]:
    """Quantized, calibrated, in evaluation mode."""
    model, record = quant.prepare(net or placed_network(), options, inputs=INPUTS)
    quant.calibrate(model, [paddle.to_tensor(images(32, 1))])
    model.eval()
    return model, record


def train(model: nn.Layer, steps: int = 2) -> nn.Layer:
    model.train()
    optimizer = paddle.optimizer.Momentum(0.01, parameters=model.parameters())
    for step in range(steps):
        logits = model(paddle.to_tensor(images(8, 50 + step)))
        paddle.nn.functional.cross_entropy(logits, paddle.to_tensor([0, 1, 2, 3, 4, 0, 1, 2])).backward()
        optimizer.step()
        optimizer.clear_grad()
    model.eval()
    return model


def logits(model: nn.Layer, values: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        return model(paddle.to_tensor(values)).numpy()

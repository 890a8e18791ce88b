"""A small network with quantizers, and images for it."""

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

IMAGES = paddle.to_tensor(np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype("float32"))


def network(dropout: float = 0.5) -> nn.Layer:
    paddle.seed(5)
    return nn.Sequential(
        nn.Conv2D(3, 6, 3),
        nn.BatchNorm2D(6),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv2D(6, 4, 3),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def prepared(**options) -> nn.Layer:
    return quant.prepare(network(), QuantOptions(**options))[0]

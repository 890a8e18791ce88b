"""A network that calls its layers more than once, and the same network with a layer of its own for every call."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

SHAPE = (3, 12, 12)
INPUTS = [[1, *SHAPE]]


class Block(nn.Layer):
    """Two convolutions and a sum; `relu` gives one activation for both calls or two."""

    def __init__(self, relu) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(8, 8, 3, padding=1)
        self.conv2 = nn.Conv2D(8, 8, 3, padding=1)
        self.relus = relu()

    def forward(self, x):
        y = self.relus[0](self.conv1(x))
        # A tensor that the convolution and the sum read, far smaller than the one after the sum.
        return self.relus[1](self.conv2(y) + y + x)


class Several(nn.Layer):
    """Activation, pooling, dropout, convolution and block, each called two times or three.

    Args:
        shared: one object for all calls of each.
    """

    def __init__(self, *, shared: bool) -> None:
        super().__init__()

        def times(count, make):
            made = [make() for _ in range(1 if shared else count)]
            return nn.LayerList(made * (count if shared else 1))

        self.stem = nn.Conv2D(3, 8, 3, padding=1)
        self.relu = times(2, nn.ReLU)
        self.blocks = times(2, lambda: Block(lambda: times(2, nn.ReLU)))
        self.pool = times(2, lambda: nn.AvgPool2D(3, stride=1, padding=1))
        self.drop = times(2, lambda: nn.Dropout(0.1))
        self.conv = times(3, lambda: nn.Conv2D(8, 8, 1))
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.relu[0](self.stem(x))
        x = self.blocks[1](0.1 * self.blocks[0](x))
        y = self.drop[0](self.pool[0](x))
        z = self.conv[0](y) + self.conv[1](self.drop[1](self.pool[1](4 * y + x)))
        z = self.relu[1](self.conv[2](z) + z + y)
        return self.fc(z.mean([2, 3]))


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *SHAPE), np.float32)


def pair() -> tuple[Several, Several]:
    """Both networks, with the same weights: biases off zero, the first convolution of a block small."""
    paddle.seed(1)
    shared, apart = Several(shared=True), Several(shared=False)
    rng = np.random.default_rng(2)
    for name, parameter in shared.named_parameters():
        scale = 0.05 if "conv1" in name else 0.3
        parameter.set_value((scale * rng.standard_normal(parameter.shape)).astype("float32"))
    for net, other in ((shared, apart),):
        state = net.state_dict()
        for name, parameter in other.named_parameters():
            parts = name.split(".")
            kept = ".".join("0" if part.isdigit() else part for part in parts)
            parameter.set_value(state[kept].numpy())
    for net in (shared, apart):
        net.eval()
    return shared, apart

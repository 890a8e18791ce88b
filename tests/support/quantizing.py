"""A few steps of training, and weights as plain arrays, for tests of quantization."""

import numpy as np
import paddle
from paddle import nn


def train(model: nn.Layer, images: paddle.Tensor, labels: paddle.Tensor, optimizer, steps: int) -> None:
    model.train()
    for _ in range(steps):
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.clear_grad()
    model.eval()


def state_of(model: nn.Layer) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in model.state_dict().items()}

"""A trained model as its users call it: images in, one output, in evaluation mode."""

from __future__ import annotations

import hashlib

import numpy as np
import paddle

from ppcls_compress.slim.graph import inference_mode

BATCH = 32
"""Images that a network is given at once where no one said how many."""


class Deployed(paddle.nn.Layer):
    """One input, one output: logits, or with `softmax` probabilities."""

    def __init__(self, network: paddle.nn.Layer, *, softmax: bool) -> None:
        super().__init__()
        self.network = network
        self.softmax = softmax

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """[N, C, H, W] -> [N, classes]."""
        output = first_output(self.network(images))
        return paddle.nn.functional.softmax(output, axis=-1) if self.softmax else output


def first_output(output: paddle.Tensor | list[paddle.Tensor] | tuple[paddle.Tensor, ...]) -> paddle.Tensor:
    """The logits; networks with auxiliary classifiers give them first."""
    return output[0] if isinstance(output, list | tuple) else output


def fingerprint(model: paddle.nn.Layer) -> str:
    """16 hexadecimal digits that are the same for the same weights and ranges only."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        array = np.ascontiguousarray(value.numpy())
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def logits_of(model: paddle.nn.Layer, images: np.ndarray) -> np.ndarray:
    """The model's logits [N, classes] for images [N, C, H, W], in evaluation mode; the model is as before after it."""
    with inference_mode(model):
        parts = [
            first_output(model(paddle.to_tensor(images[start : start + BATCH]))).numpy()
            for start in range(0, len(images), BATCH)
        ]
    return np.concatenate(parts)

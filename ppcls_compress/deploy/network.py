"""A trained model as its users call it: images in, one output, in evaluation mode."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.models.named_outputs import NamedOutputs
from ppcls_compress.outputs import LOGITS
from ppcls_compress.postprocess.base import SIGMOID, SOFTMAX
from ppcls_compress.slim.finite import first_not_finite
from ppcls_compress.slim.graph import inference_mode
from ppcls_compress.slim.inputs import tensor_paths
from ppcls_compress.slim.position import failures_told, first_unsteady

BATCH = 32
"""Images that a network is given at once where no one said how many."""


class Deployed(paddle.nn.Layer):
    """One input, one output: logits, or what `ending` makes of them, their `softmax` or `sigmoid`."""

    def __init__(self, network: paddle.nn.Layer, *, ending: str) -> None:
        super().__init__()
        self.network = network
        self.ending = ending

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """[N, C, H, W] -> [N, classes]."""
        output = deployed_output(self.network, self.network(images))
        if self.ending == SOFTMAX:
            return paddle.nn.functional.softmax(output, axis=-1)
        return paddle.nn.functional.sigmoid(output) if self.ending == SIGMOID else output


@paddle.jit.not_to_static
def deployed_output(network: paddle.nn.Layer, output: object) -> paddle.Tensor:
    """The tensor that is exported: the one that the network names, the one called `logits`, or the first.

    Auxiliary classifiers come after the first.
    """
    found = tensor_paths(output)
    return found[_exported(network, found)]


def _exported(network: paddle.nn.Layer, found: Mapping[str, paddle.Tensor]) -> str:
    if isinstance(network, NamedOutputs):
        return network.exported
    return LOGITS if LOGITS in found else next(iter(found))


def try_out(model: paddle.nn.Layer, image_shape: Sequence[int]) -> str | None:
    """Run a network once, before anything else is done with it.

    Returns:
        A line that tells which of its tensors is exported; None if there is only one.

    Raises:
        UserError: it does not run on images of this shape alone, or gives no tensor.
    """
    with inference_mode(model):
        found = _run(model, paddle.zeros([2, *image_shape]))
    if len(found) == 1 or isinstance(model, NamedOutputs):
        return None
    return (
        f"{type(model).__name__} gives {', '.join(found)}: the exported network gives {_exported(model, found)} alone"
    )


def _run(model: paddle.nn.Layer, images: paddle.Tensor) -> dict[str, paddle.Tensor]:
    """The tensors that a network gives, by where they lie."""
    name = type(model).__name__
    with failures_told(model, f"an exported network is given images alone, here {list(images.shape)}"):
        output = model(images)
    found = tensor_paths(output)
    if not found:
        raise UserError(f"{name}: its forward pass gives no tensor, but {type(output).__name__}: nothing to export")
    return found


def fingerprint(model: paddle.nn.Layer) -> str:
    """16 hexadecimal digits that are the same for the same weights and ranges only."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        array = np.ascontiguousarray(value.numpy())
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def sound_logits_of(model: paddle.nn.Layer, images: np.ndarray, source: str) -> np.ndarray:
    """As `logits_of`, for logits that an artifact is held against.

    Args:
        source: what the images are, for messages.

    Raises:
        UserError: they are no number for each class, not finite, or not the same each time; names the layer.
    """
    logits = logits_of(model, images)
    if logits.ndim != 2:
        raise UserError(
            f"{type(model).__name__}: gives {list(logits.shape)} for {len(images)} images, which cannot be compared; "
            "what is exported has a number for each class, [N, classes]"
        )
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    with inference_mode(model):
        if broken.size and not np.isfinite(images[broken[0]]).all():
            raise UserError(f"{source}: image {broken[0] + 1} holds a value that is not finite")
        if broken.size:
            first = first_not_finite(model, paddle.to_tensor(images[broken[:1]]))
            raise UserError(
                f"the trained model's own output is not finite on {source}; first layer with such values: {first}; the "
                "weights are broken"
            )
    few = images[:_FEW]
    again = logits_of(model, few)
    if np.array_equal(again, logits if len(images) == len(few) else logits_of(model, few)):
        return logits
    with inference_mode(model):
        unsteady = first_unsteady(model, lambda: model(paddle.to_tensor(few)))
    if unsteady is not None:
        raise UserError(
            f"{unsteady} gives other numbers each time, in evaluation too, so that no export can be compared with it; "
            "leave the randomness out in evaluation"
        )
    return logits


_FEW = 2


def logits_of(model: paddle.nn.Layer, images: np.ndarray) -> np.ndarray:
    """The model's logits [N, classes] for images [N, C, H, W], in evaluation mode; the model is as before after it.

    Raises:
        UserError: it does not run on them alone, or gives no tensor.
    """
    parts = []
    with inference_mode(model):
        for start in range(0, len(images), BATCH):
            found = _run(model, paddle.to_tensor(images[start : start + BATCH]))
            parts.append(found[_exported(model, found)].numpy())
    return np.concatenate(parts)

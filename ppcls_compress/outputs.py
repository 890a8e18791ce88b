"""What a network gives for a batch, and how to take a part of it.

An output is a tensor [N, C]; or tensors by name, such as `features` and `logits` of a recognition model; or outputs of
either kind by the names of networks, where several learn from each other. It holds tensors of Paddle in training and
arrays of NumPy in metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ppcls_compress.errors import UserError

Output = Any
"""A tensor, a mapping of tensors by name, or a mapping of outputs by network; of auxiliary classifiers, a list."""

LOGITS = "logits"


def logits_of(output: Output) -> Any:
    """The scores [N, C]: the tensor itself, the one called `logits`, or the first of a list, the main classifier.

    Raises:
        UserError: the network has no such output.
    """
    if isinstance(output, list | tuple):
        return logits_of(output[0])
    return part(output, LOGITS) if isinstance(output, Mapping) else output


def part(output: Output, name: str) -> Any:
    """The tensor, or the network's output, that is called `name`.

    Raises:
        UserError: there is none; says what there is.
    """
    if isinstance(output, Mapping) and output.get(name) is not None:
        return output[name]
    given = ", ".join(map(str, output)) if isinstance(output, Mapping) else "one tensor without a name"
    raise UserError(f"the network gives no output {name!r}; it gives {given}")


def of_network(output: Output, network: str) -> Output:
    """What one of several networks gives; the output itself where one network alone answers."""
    return output[network] if isinstance(output, Mapping) and network in output else output


def mapped(function: Callable[[Any], Any], output: Output) -> Output:
    """An output of the same structure, each tensor of it handed through `function`; what is absent stays None."""
    if isinstance(output, Mapping):
        return {name: mapped(function, value) for name, value in output.items()}
    if isinstance(output, list | tuple):
        return [mapped(function, value) for value in output]
    return None if output is None else function(output)


def unit(features: Any, axis: int = 1) -> Any:
    """A tensor divided by its lengths along an axis; where a length is zero it stays zero, and so does its gradient.

    The gradient of Paddle's own `normalize` is no number there.
    """
    return features / features.square().sum(axis=axis, keepdim=True).clip(min=_SHORTEST).sqrt()


_SHORTEST = 1e-24
"""The least square of a length that is divided by."""


def identities(labels: Any) -> Any:
    """The class indices [N] of integer labels [N], or [N, k] whose first column they are (camera and the like follow).

    Raises:
        UserError: the labels are mixed or of several classes each, so that there is no one class.
    """
    if not are_indices(labels):
        raise UserError(
            "this loss or metric needs one class for each image, and got labels of several; leave out batch transforms "
            "that mix them"
        )
    return labels if labels.ndim == 1 else labels[:, 0]


def cameras(labels: Any) -> Any:
    """The cameras [N] of labels [N, k], whose second column they are.

    Raises:
        UserError: the labels tell none.
    """
    if not are_indices(labels) or labels.ndim == 1:
        raise UserError(
            "this loss needs the camera of each image, and the labels tell none; a data set like Market1501 does"
        )
    return labels[:, 1]


def class_labels(labels: Any) -> Any:
    """Class indices [N], or the share of each class [N, C] where labels are mixed."""
    return identities(labels) if are_indices(labels) else labels


def attributes(labels: Any) -> tuple[Any, Any | None]:
    """The labels [N, C] of images that have several each, and the share of images that have each label, [N, C].

    Labels are 1, 0, or `UNKNOWN`. The shares are None where they do not come along, as the second of [N, 2, C].

    Raises:
        UserError: there is one class for each image.
    """
    if are_indices(labels):
        raise UserError(
            "this loss or metric needs a label for each attribute, and got one class for each image; a data set like "
            "MultiLabelDataset has several"
        )
    return (labels[:, 0], labels[:, 1]) if labels.ndim == 3 else (labels, None)


UNKNOWN = -1
"""The label of an attribute that nobody knows of an image; no loss or metric counts it."""


def are_indices(labels: Any) -> bool:
    """Whether labels are class indices, and not shares or attributes."""
    return "int" in str(labels.dtype)

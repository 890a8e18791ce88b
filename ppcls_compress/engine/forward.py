"""The first question to a network: does it take the images that are configured?"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import paddle

from ppcls_compress.errors import ConfigError, one_line
from ppcls_compress.models.named_outputs import NamedOutputs

_KEY = "Global.image_shape"


class _EmptyError(Exception):
    """A layer gave a tensor without any number in it."""


def check_takes(
    model: paddle.nn.Layer, image_shape: Sequence[int], *, class_num: int, who: str, advice: str = ""
) -> None:
    """Run one image of zeros through a network in evaluation mode; the network is as before after it.

    Args:
        image_shape: (C, H, W).
        class_num: width of the logits that it must give; of a network with named outputs, the one that is deployed
            may be of any width.
        who: the network, for messages: `Arch.name LeNet`.
        advice: what helps where the image has another number of channels, for messages.

    Raises:
        ConfigError: it fails, loses all of the image on the way, or gives no logits; names the layer and what it was
            given.
    """
    layers: list[tuple[str, paddle.nn.Layer, str]] = []
    handles = _watched(model, layers)
    was_training = model.training
    model.eval()
    try:
        with paddle.no_grad():
            output = model(paddle.zeros([1, *image_shape]))
    except _EmptyError as error:
        reason = f"{_place(layers)} {error}: the image is too small for this network"
    except Exception as error:  # whatever Paddle or a network's own code raises
        reason = f"{_place(layers)} {_reason(error, layers, image_shape, advice)}"
    else:
        reason = _unfit(model, output, class_num)
        if reason is None:
            return
    finally:
        for handle in handles:
            handle.remove()
        if was_training:
            model.train()
    raise ConfigError(f"{_KEY}: {who} does not take images of {list(image_shape)}: {reason}") from None


def _unfit(model: paddle.nn.Layer, output: Any, class_num: int) -> str | None:
    """Why what a network gave for one image is no answer; None if it is one."""
    if isinstance(model, NamedOutputs):
        found = list(output[model.exported].shape)
        return None if len(found) == 2 else f"its {model.exported} are {found}, not one row of numbers for each image"
    found = list(_shape(output[0] if isinstance(output, list | tuple) else output) or [])
    if found == [1, class_num]:
        return None
    return f"it gives {found or type(output).__name__}, not logits [1, {class_num}]"


def _watched(model: paddle.nn.Layer, layers: list[tuple[str, paddle.nn.Layer, str]]) -> list[Any]:
    """Hooks that keep in `layers` which ones are running, the innermost last, and refuse empty results."""
    handles = []
    for name, layer in model.named_sublayers():
        handles.append(layer.register_forward_pre_hook(_entering(name, layers)))
        handles.append(layer.register_forward_post_hook(_leaving(layers)))
    return handles


def _entering(name: str, layers: list[tuple[str, paddle.nn.Layer, str]]) -> Callable[..., None]:
    def note(layer: paddle.nn.Layer, inputs: tuple[Any, ...]) -> None:
        given = [str(list(shape)) for value in inputs if (shape := _shape(value)) is not None]
        layers.append((name, layer, " and ".join(given) or "no tensor"))

    return note


def _leaving(layers: list[tuple[str, paddle.nn.Layer, str]]) -> Callable[..., None]:
    def look(layer: paddle.nn.Layer, inputs: tuple[Any, ...], output: Any) -> None:
        shape = _shape(output)
        if shape is not None and 0 in shape:
            raise _EmptyError(f"makes {list(shape)} of it")
        layers.pop()

    return look


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, paddle.Tensor) else None


def _place(layers: list[tuple[str, paddle.nn.Layer, str]]) -> str:
    if not layers:
        return "its own forward method"
    name, layer, given = layers[-1]
    return f"layer {name} ({type(layer).__name__}) was given {given} and"


def _reason(
    error: Exception, layers: list[tuple[str, paddle.nn.Layer, str]], image_shape: Sequence[int], advice: str
) -> str:
    layer = layers[-1][1] if layers else None
    text = f"fails: {_first_sentence(str(error)) or type(error).__name__}"
    if "output_size = 0" in text:  # Paddle 3.0; later ones give an empty tensor
        return f"{text}: the image is too small for this network"
    if isinstance(layer, paddle.nn.Linear):
        return f"takes {layer.weight.shape[0]} features: the network is made for images of another size"
    if isinstance(layer, paddle.nn.Conv2D):
        wanted = layer._in_channels
        if f"[1, {wanted}," not in layers[-1][2]:
            return f"takes {wanted} channels" + (advice and f"; {advice}")
    return text


def _first_sentence(text: str) -> str:
    """What is wrong in a message of Paddle: without its traceback, its hints and its places in C++."""
    text = re.sub(r".*?\n-+\nError Message Summary:\n-+\n", "", text, flags=re.DOTALL)
    text = re.sub(r"\s*\[(Hint|operator <).*", "", text, flags=re.DOTALL)
    return one_line(re.sub(r"\(at /\S+\)|^\(\w+\) ", "", text), 300)

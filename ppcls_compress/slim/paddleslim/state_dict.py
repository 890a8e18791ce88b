"""State dicts that PaddleSlim's quantization-aware training wrote, in this package's layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.quant import layers
from ppcls_compress.slim.quant.calibrate import required_quant_layers
from ppcls_compress.slim.quant.foreign import foreign_layers
from ppcls_compress.slim.quant.quantizers import learned
from ppcls_compress.slim.quant.quantizers.base import Quantizer, WindowRange
from ppcls_compress.slim.quant.quantizers.channelwise import Channelwise
from ppcls_compress.slim.quant.quantizers.two_ended import TwoEnded

State = dict[str, np.ndarray]
_OUTPUT_SCALE = "._ma_output_scale._scale"
# What the parts of a layer hold there: the average of a range, and the alpha of PACT.
_THEIRS = frozenset({"_scale", "_state", "_accum", "alpha"})


def is_paddleslim(state: Mapping[str, np.ndarray]) -> bool:
    """Whether a state dict is one of PaddleSlim's quantization-aware training."""
    wrapped = any(key.endswith(_OUTPUT_SCALE) for key in state)
    weights = {key.removesuffix("._fake_quant_weight._scale") for key in state if "._fake_quant_weight._scale" in key}
    # This package stores a range beside the weight only together with the rest of an observer.
    ours = ("_fake_quant_weight._state", "_fake_quant_weight._window")
    return wrapped or any(not any(f"{name}.{key}" in state for key in ours) for name in weights)


def check_fits(options: QuantOptions) -> None:
    """Refuse options with which PaddleSlim's weights cannot go on.

    Raises:
        UserError: they rebuild the network, or calibrate float weights.
    """
    fitting = "pact, lsq and qat fit, with placement: layers and without fuse_conv_bn"
    for key, wrong in (
        ("name", options.name == "ptq"),
        ("placement", options.placement == "deploy"),
        ("fuse_conv_bn", options.fuse_conv_bn),
    ):
        if wrong:
            raise UserError(f"{key}: weights of PaddleSlim's QAT cannot go on as {getattr(options, key)}; {fitting}")


def from_paddleslim(model: paddle.nn.Layer, state: Mapping[str, np.ndarray]) -> State:
    """Rewrite a state dict of PaddleSlim's QAT so that it loads strictly into a prepared model, and training goes on.

    A state in this package's own layout comes back as it is, and so does any for a model that PaddleSlim quantized.
    PaddleSlim wraps layers (`<layer>._layer.weight`) to observe their outputs, which is dropped here. What the model's
    quantizers call otherwise starts from PaddleSlim's values: a range at the smaller of alpha and the moving average,
    that of a weight from the weight. A clip of the weights that the model does not have is applied to them once.

    Args:
        model: prepared with options that fit (`check_fits`); exactly as in PaddleSlim it goes on with
            `compat: paddleslim`.
        state: arrays by key.

    Raises:
        UserError: the model is not prepared, or quantizes other layers than the state does, or with an alpha that the
            state does not have.
    """
    if foreign_layers(model):
        return dict(state)
    found = required_quant_layers(model)
    renamed = _unwrapped(state)
    if not is_paddleslim(state):
        return renamed
    _check_layers(found, renamed)
    for name, layer in found.items():
        _translate(name, layer, renamed)
    return renamed


def _unwrapped(state: Mapping[str, np.ndarray]) -> State:
    wrapped = {key.removesuffix(_OUTPUT_SCALE) for key in state if key.endswith(_OUTPUT_SCALE)}
    renamed = {}
    for key, value in state.items():
        owner, found, rest = key.partition("._layer.")
        if "._ma_output_scale." in key and key.partition("._ma_output_scale.")[0] in wrapped:
            continue
        renamed[f"{owner}.{rest}" if found and owner in wrapped else key] = value
    return renamed


def _check_layers(found: Mapping[str, paddle.nn.Layer], state: State) -> None:
    quantized = {key.partition("._fake_quant_")[0] for key in state if "._fake_quant_" in key}
    if not quantized:  # by classes of the user's own
        return
    for names, problem in (
        (quantized - found.keys(), "are quantized in PaddleSlim's weights, and not by these options"),
        (found.keys() - quantized, "are quantized by these options, and not in PaddleSlim's weights"),
    ):
        if names:
            raise UserError(f"{', '.join(sorted(names)[:5])} {problem}; set skip and quantizable_layer_type as there")


def _translate(name: str, layer: paddle.nn.Layer, state: State) -> None:
    theirs = {key: _part(state, f"{name}.{key}.") for key in layers.PARTS}
    alpha = theirs["_act_preprocess"].get("alpha")
    weight_alpha = theirs["_weight_preprocess"].get("alpha")
    if weight_alpha is not None and layer._weight_preprocess is None:
        bound = np.abs(weight_alpha)
        state[f"{name}.weight"] = np.clip(state[f"{name}.weight"], -bound, bound)
    weight = paddle.to_tensor(state[f"{name}.weight"])
    scale = theirs["_fake_quant_input"].get("_scale")
    starts: dict[str, Callable[[paddle.nn.Layer], None]] = {
        "_fake_quant_weight": lambda part: part.start(weight),
        "_fake_quant_input": lambda part: _start_input(name, part, alpha, scale),
        "_act_preprocess": lambda part: _start_clip(name, part, alpha, scale),
        "_weight_preprocess": lambda part: _start_weight_clip(name, part, weight_alpha, weight),
    }
    for key, start in starts.items():
        part = getattr(layer, key)
        if part is None:
            _replace(state, f"{name}.{key}.", {})
        elif isinstance(part, Quantizer | learned.PaddleSlimPact) and theirs[key].keys() <= _THEIRS:
            kept = theirs[key]
            if part.state_dict().keys() - kept.keys():
                start(part)
                kept = kept if isinstance(part, learned.LearnedAlphaMovingAverage) else {}
            own = {entry: tensor.numpy() for entry, tensor in part.state_dict().items()}
            # The range of an abs-max weight follows from the weight, so it is no entry of ours.
            _replace(state, f"{name}.{key}.", {entry: kept.get(entry, own[entry]) for entry in own})


def _part(state: State, prefix: str) -> State:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _replace(state: State, prefix: str, entries: State) -> None:
    for key in _part(state, prefix):
        del state[prefix + key]
    state.update({prefix + key: value for key, value in entries.items()})


def _start_input(name: str, part: Quantizer, alpha: np.ndarray | None, scale: np.ndarray | None) -> None:
    """A range that PaddleSlim has none of stays as it is, to be calibrated."""
    averaged = isinstance(part, learned.LearnedAlphaMovingAverage)
    limit = _smaller(name, alpha, None if averaged and alpha is not None else scale)
    if limit is not None and isinstance(part, learned.LearnedRange | TwoEnded | Channelwise):
        part.take_over(limit)
    elif limit is not None and isinstance(part, WindowRange):
        part.start_from([limit])


def _start_clip(name: str, part: paddle.nn.Layer, alpha: np.ndarray | None, scale: np.ndarray | None) -> None:
    if isinstance(part, learned.PaddleSlimPact):
        raise UserError(f"{name}: PaddleSlim's weights have no alpha of PACT; {{name: qat}} goes on without one")
    limit = _smaller(name, alpha, scale)
    if limit is not None:
        part.take_over(limit)


def _start_weight_clip(name: str, part: paddle.nn.Layer, alpha: np.ndarray | None, weight: paddle.Tensor) -> None:
    if isinstance(part, learned.PaddleSlimPact):
        raise UserError(f"{name}: PaddleSlim clipped no weights; leave weight_preprocess_type out")
    if alpha is None:
        part.calibrate_from(weight)
    else:
        part.set_range(_smaller(name, alpha, weight.abs().max().numpy()))


def _smaller(name: str, alpha: np.ndarray | None, largest: np.ndarray | None) -> float | None:
    """A range from PaddleSlim's alpha and from what the values reach, where there is one or the other."""
    found = [float(value.reshape([-1])[0]) for value in (alpha, largest) if value is not None]
    if found and not 0 < min(found) < float("inf"):
        raise UserError(
            f"{name}: no range can start from PaddleSlim's {min(found):.3g}; {{compat: paddleslim}} keeps it"
        )
    return min(found, default=None)

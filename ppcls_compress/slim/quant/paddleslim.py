"""State dicts that PaddleSlim's quantization-aware training wrote, in this package's layout."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import paddle

from ppcls_compress.slim.quant.calibrate import required_quant_layers
from ppcls_compress.slim.quant.learned import LearnedAlpha, LearnedAlphaMovingAverage
from ppcls_compress.slim.quant.paddleslim_backend import paddleslim_layers

_OUTPUT_SCALE = "._ma_output_scale._scale"


def is_paddleslim(state: Mapping[str, np.ndarray]) -> bool:
    """Whether a state dict is one of PaddleSlim's quantization-aware training."""
    wrapped = any(key.endswith(_OUTPUT_SCALE) for key in state)
    weights = {key.removesuffix("._fake_quant_weight._scale") for key in state if "._fake_quant_weight._scale" in key}
    # This package stores a range beside the weight only together with the rest of an observer.
    ours = ("_fake_quant_weight._state", "_fake_quant_weight._window")
    return wrapped or any(not any(f"{name}.{key}" in state for key in ours) for name in weights)


def from_paddleslim(model: paddle.nn.Layer, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rewrite a state dict of PaddleSlim's QAT so that it loads strictly into a prepared model, and training goes on.

    A state in this package's own layout comes back as it is, and so does any for a model that PaddleSlim quantized.
    PaddleSlim wraps layers (`<layer>._layer.weight`) to observe their outputs, which is dropped here. On `grid: alpha`
    the range starts at the smaller of PaddleSlim's alpha and its moving average.

    Args:
        model: prepared with options that match, such as `compat: paddleslim`.
        state: arrays by key.

    Raises:
        UserError: the model is not prepared.
    """
    if paddleslim_layers(model):
        return dict(state)
    found = required_quant_layers(model)
    renamed = _unwrapped(state)
    for name, layer in found.items():
        _translate(name, layer, renamed)
    return renamed


def _unwrapped(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    wrapped = {key.removesuffix(_OUTPUT_SCALE) for key in state if key.endswith(_OUTPUT_SCALE)}
    renamed = {}
    for key, value in state.items():
        owner, found, rest = key.partition("._layer.")
        if "._ma_output_scale." in key and key.partition("._ma_output_scale.")[0] in wrapped:
            continue
        renamed[f"{owner}.{rest}" if found and owner in wrapped else key] = value
    return renamed


def _translate(name: str, layer: paddle.nn.Layer, state: dict[str, np.ndarray]) -> None:
    if f"{name}._fake_quant_weight._scale" in state and "_scale" not in layer._fake_quant_weight._buffers:
        # The range of an abs-max weight follows from the weight.
        del state[f"{name}._fake_quant_weight._scale"]
    inputs = layer._fake_quant_input
    alpha = state.get(f"{name}._act_preprocess.alpha")
    scale = state.get(f"{name}._fake_quant_input._scale")
    if isinstance(inputs, LearnedAlpha) and scale is not None and f"{name}._fake_quant_input.log_alpha" not in state:
        _learned(name, inputs, state, alpha, scale)


def _learned(
    name: str, inputs: LearnedAlpha, state: dict[str, np.ndarray], alpha: np.ndarray | None, scale: np.ndarray
) -> None:
    prefix = f"{name}._fake_quant_input."
    state.pop(f"{name}._act_preprocess.alpha", None)
    averaged = isinstance(inputs, LearnedAlphaMovingAverage)
    limit = scale if alpha is None else np.minimum(alpha, scale) if not averaged else alpha
    state[prefix + "log_alpha"] = state[prefix + "_previous"] = np.log(limit.reshape([1]).astype(np.float32))
    state[prefix + "_sides"] = np.array([2.0], np.float32)
    if not averaged:
        for key in ("_scale", "_state", "_accum"):
            state.pop(prefix + key, None)

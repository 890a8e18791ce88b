"""Which layers are quantized, with which settings, and why the others are not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import paddle

from ppcls_compress.errors import ConfigError, UserError, unknown
from ppcls_compress.slim import inputs as describing
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.options.quant import QuantOptions
from ppcls_compress.slim.options.rules import LAYER_TYPES
from ppcls_compress.slim.quant.foreign import ForeignLayer
from ppcls_compress.slim.quant.layers import QuantLayer, base_type, evaluating, has_own_forward, taken_name, watched
from ppcls_compress.slim.quant.normed import has_weight

_WEIGHTED = (
    paddle.nn.Conv1D,
    paddle.nn.Conv3D,
    paddle.nn.Conv1DTranspose,
    paddle.nn.Conv3DTranspose,
    paddle.nn.Embedding,
    paddle.nn.MultiHeadAttention,
)


@dataclass(frozen=True)
class Skipped:
    """What stays float: a layer's name, its type, and why; or a parameter's, and the operator that reads it."""

    layer: str
    type: str
    reason: str


@dataclass(frozen=True)
class Selection:
    """The layers to quantize, each with its settings, and those that stay float."""

    chosen: dict[str, QuantOptions]
    skipped: list[Skipped]


def select(model: paddle.nn.Layer, options: QuantOptions, uncalled: Collection[str] = ()) -> Selection:
    """Decide for every layer with a weight.

    Args:
        model: not changed.
        options: what to quantize, and how.
        uncalled: layers that `uncalled` found.

    Raises:
        UserError: the model is quantized already, has nothing to quantize, or is itself the layer to quantize.
        ConfigError: a rule matches no layer, or none that `skip` does not leave out.
    """
    if base_type(model):
        kind = type(model).__name__
        raise UserError(f"the whole model is a {kind}, which nothing holds; wrap it: paddle.nn.Sequential(model)")
    candidates, skipped = _candidates(model, options)
    _check_rules(candidates, model, options)
    chosen: dict[str, QuantOptions] = {}
    ends = _ends(candidates)
    for name, layer in candidates.items():
        pattern = next((rule for rule in options.skip if _matches(rule, name, layer, ends)), None)
        if pattern is not None:
            skipped.append(Skipped(name, type(layer).__name__, f"skip: {pattern}"))
            continue
        if name in uncalled:
            skipped.append(Skipped(name, type(layer).__name__, "no forward pass in evaluation calls it"))
            continue
        settings = options
        for rule in options.per_layer:
            if any(_matches(pattern, name, layer, ends) for pattern in rule.layers):
                settings = settings.with_rule(rule)
        chosen[name] = settings
    if not chosen:
        why = "; ".join(f"{item.layer}: {item.reason}" for item in skipped[:5]) or "it has no layer with a weight"
        raise UserError(f"{type(model).__name__} has no layer that can be quantized ({why})")
    _check_effect(options, candidates, chosen)
    return Selection(chosen, skipped)


def uncalled(model: paddle.nn.Layer, options: QuantOptions, inputs: Inputs) -> list[str]:
    """The layers to quantize that no forward pass in evaluation calls, as those of auxiliary heads; by name.

    Nothing would ever calibrate them. A model that does not run on random `inputs` is taken to call all of its layers.
    """
    called: set[str] = set()
    chosen = select(model, options).chosen
    found = {name: layer for name, layer in model.named_sublayers() if name in chosen}

    def noting(name: str) -> Callable[[paddle.nn.Layer, tuple], None]:
        return lambda layer, given: called.add(name)

    try:
        with watched(found, noting), evaluating(model), paddle.no_grad():
            describing.call(model, describing.example(inputs))
    except Exception:  # whatever a user's network raises on images that are noise
        return []
    return [name for name in chosen if name not in called]


def is_weighted(layer: paddle.nn.Layer) -> bool:
    """Whether it is of a kind that computes with weights and is never quantized."""
    return isinstance(layer, _WEIGHTED)


def _candidates(model: paddle.nn.Layer, options: QuantOptions) -> tuple[dict[str, paddle.nn.Layer], list[Skipped]]:
    candidates, skipped = {}, []
    for name, layer in model.named_sublayers():
        if isinstance(layer, QuantLayer | ForeignLayer):
            raise UserError(f"{name} is quantized already; convert the model back before preparing it again")
        reason = _obstacle(layer, options)
        if reason is None:
            candidates[name] = layer
        elif base_type(layer) or is_weighted(layer):
            skipped.append(Skipped(name, type(layer).__name__, reason))
    return candidates, skipped


def _obstacle(layer: paddle.nn.Layer, options: QuantOptions) -> str | None:
    base = base_type(layer)
    if base is None:
        return "this type of layer cannot be quantized"
    if not any(_is_type(layer, kind) for kind in options.quantizable_layer_type):
        return f"{base.__name__} is not in quantizable_layer_type"
    if type(layer).forward is not base.forward or type(layer).__call__ is not paddle.nn.Layer.__call__:
        return "its class computes something of its own in forward"
    if has_own_forward(layer):
        return "forward is replaced on the layer itself"
    if not has_weight(layer):
        return "its weight is no parameter, something else computes it"
    taken = taken_name(layer)
    if taken is not None:
        return f"its class has a {taken!r} of its own, which a quantized layer needs for itself"
    if getattr(layer, "skip_quant", False):
        return "skip_quant is set on the layer"
    return None


def _is_type(layer: paddle.nn.Layer, kind: str) -> bool:
    if kind == "depthwise":
        return isinstance(layer, paddle.nn.Conv2D) and layer._groups == layer._in_channels > 1
    return isinstance(layer, getattr(paddle.nn, kind))


def _ends(candidates: dict[str, paddle.nn.Layer]) -> dict[str, str]:
    names = list(candidates)
    return {"first": names[0], "last": names[-1]} if names else {}


def _matches(pattern: str, name: str, layer: paddle.nn.Layer, ends: dict[str, str]) -> bool:
    if pattern in LAYER_TYPES:
        return _is_type(layer, pattern)
    return name == ends.get(pattern) or fnmatchcase(name, pattern)


def _check_rules(candidates: dict[str, paddle.nn.Layer], model: paddle.nn.Layer, options: QuantOptions) -> None:
    ends = _ends(candidates)
    rules: Iterable[tuple[str, str]] = [("skip", pattern) for pattern in options.skip]
    rules = [*rules, *(("per_layer", pattern) for rule in options.per_layer for pattern in rule.layers)]
    for key, pattern in rules:
        if not any(_matches(pattern, name, layer, ends) for name, layer in candidates.items()):
            raise ConfigError(f"{key}: {unknown('layer', pattern, candidates)}; nothing to quantize matches it")


def _check_effect(
    options: QuantOptions, candidates: dict[str, paddle.nn.Layer], chosen: dict[str, QuantOptions]
) -> None:
    """Refuse a rule that is for layers that `skip` leaves out alone."""
    ends = _ends(candidates)
    for index, rule in enumerate(options.per_layer):
        if not any(_matches(pattern, name, candidates[name], ends) for pattern in rule.layers for name in chosen):
            raise ConfigError(f"per_layer[{index}]: all layers of {', '.join(rule.layers)} are left out by skip")

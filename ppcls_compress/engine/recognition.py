"""What a recognition model needs besides what every model does: weights of its backbone, and who reads which output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import paddle

from ppcls_compress.config.schema import Config
from ppcls_compress.engine import checkpoint
from ppcls_compress.engine.logs import logger
from ppcls_compress.models import weights
from ppcls_compress.models.families.recognition import BackboneOptions
from ppcls_compress.models.recognition import RecModel

_KEY = "Arch.Backbone.pretrained"
_NAME = "RecModel"


def family_options(config: Config) -> dict[str, Any]:
    """The options of the configured network; a recognition model is told which outputs are read.

    An output that nothing reads is not given: channels of an output are never pruned.
    """
    options = config.Arch.family_options
    if config.Arch.name != _NAME:
        return options
    read = {"features", "logits"}
    if config.Global.retrieval_feature_from == "backbone":
        read.add("backbone")
    if config.Loss is not None:
        terms = [term for entries in config.Loss.lists.values() for term in entries]
        read |= {"backbone", "neck"} & {text for term in terms for text in _texts(term.model_dump())}
    return {**options, "gives": tuple(sorted(read))}


def tell_stop(model: paddle.nn.Layer, config: Config) -> None:
    """A warning where `Arch.BackboneStopLayer` names a layer that the network, of a PaddleClas on the path, lacks."""
    stop = config.Arch.family_options.get("BackboneStopLayer")
    if isinstance(model, RecModel) and stop and not model.dropped and stop["name"] not in model.backbone._sub_layers:
        logger.warning(
            "Arch.BackboneStopLayer.name: %s has no layer %r; all of it is used, as PaddleClas does",
            config.Arch.family_options["Backbone"]["name"],
            stop["name"],
        )


def _texts(node: Any) -> Iterator[str]:
    """The texts in nested options."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping | list | tuple):
        for value in node.values() if isinstance(node, Mapping) else node:
            yield from _texts(value)


def name_whole(model: paddle.nn.Layer, steps: list[dict[str, Any]]) -> None:
    """Add to steps of a record the layers of neck and head that they left as they were, and why.

    Slim speaks of the layers that it looked at; a margin's weight is of no such layer, nor is a linear neck where
    convolutions are pruned.
    """
    if not isinstance(model, RecModel):
        return
    for step in steps:
        if step["kind"] == "prune":
            shrunk = {item["name"] for item in step["layers"] if _outputs(item["before"]) != _outputs(item["after"])}
            step["pinned"] += _whole(model, {item["layer"] for item in step["pinned"]} | shrunk, kind="op")
        if step["kind"] == "quant":
            known = {item["layer"] for item in step["skipped"]} | set(step["quantized"])
            named = _whole(model, known, kind="type")
            own = {
                f"{item['layer']}.weight" for item in named
            }  # which Slim may have named, as it found no layer for it
            step["skipped"] = [item for item in step["skipped"] if item["layer"] not in own] + named


def _outputs(layer: dict[str, Any]) -> int | None:
    """The outputs of a convolution, or of a linear layer, whose weight has them second; None of any other layer."""
    shape = layer["shape"]
    return shape[1 if len(shape) == 2 else 0] if shape else None


def _whole(model: RecModel, known: set[str], *, kind: str) -> list[dict[str, str]]:
    """The layers of neck and head with weights that are not in `known`; `kind` is what a step calls a layer's class."""
    found = []
    for name, layer in model.named_sublayers():
        part = name.partition(".")[0]
        weighs = any(parameter.ndim > 1 for parameter in layer.parameters(include_sublayers=False))
        if part in _GIVES and weighs and name not in known:
            found.append({"layer": name, kind: type(layer).__name__, "reason": _GIVES[part]})
    return found


_GIVES = {"neck": "gives the feature", "head": "gives the logits, which are not deployed with a feature"}


def load_backbone(model: paddle.nn.Layer, config: Config, *, download: bool) -> None:
    """Load what `Arch.Backbone.pretrained` names into the backbone of a recognition model.

    Args:
        download: whether published weights may be fetched; otherwise the backbone keeps its fresh ones then.

    Raises:
        UserError: there are no such weights, or they do not fit.
    """
    if not isinstance(model, RecModel):
        return
    options = BackboneOptions.model_validate(config.Arch.family_options["Backbone"])
    if not options.pretrained:
        return
    source = {"pretrained": options.pretrained, "arch": options.name, "use_ssld": options.use_ssld, "where": _KEY}
    if not download and (url := weights.needs_download(**source)):
        logger.warning("%s: %s is not downloaded now; going on with fresh weights", _KEY, url)
        return
    path = weights.resolve(**source)
    state = {name: value for name, value in checkpoint.read_weights(path)[0].items() if not _below(name, model.dropped)}
    logger.info("weights of the backbone: %s", weights.load_into(model.backbone, state, source=str(path)))


def _below(name: str, layers: tuple[str, ...]) -> bool:
    return any(name.startswith(f"{layer}.") for layer in layers)

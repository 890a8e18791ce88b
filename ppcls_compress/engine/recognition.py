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
        terms = (*config.Loss.Train, *config.Loss.Eval)
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

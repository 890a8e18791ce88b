"""What `Global.train_mode` needs of the other sections, and which of them it alone reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ppcls_compress.data.datasets import DATASETS
from ppcls_compress.declare import at_key
from ppcls_compress.models import catalog
from ppcls_compress.optim.optimizers import OPTIMIZERS

METABIN = "metabin"
META_LOSSES = ("Basic", "MetaTrain", "MetaTest")
_OPTIMIZERS = (
    "the weights' (such as scope: '.*(conv|batch_norm|instance_norm|feat_bn|fc)')",
    "the gates' (scope: 'backbone.*gate')",
    "one whose lr is a factor on how far gates are moved before they are judged",
)


def check_mode(config: Any) -> None:
    """Refuse a configuration, as `config.schema.Config` holds it, that lacks what its way to train needs.

    Raises:
        PydanticCustomError: names the key.
    """
    _CHECKS.get(config.Global.train_mode, lambda config: None)(config)


def splits(config: Any) -> tuple[str, ...]:
    """The splits of `DataLoader` that a run trains on."""
    return ("Train", "Metalearning") if config.Global.train_mode == METABIN else ("Train",)


def inert_keys(config: Any) -> Iterator[str]:
    """One line for each key that the configured way to train passes over."""
    losses = config.Loss.lists if config.Loss else {}
    if config.Global.train_mode == METABIN:
        yield f"Loss.Train has no effect: Global.train_mode {METABIN} reads Loss.{', Loss.'.join(META_LOSSES)}"
        if config.Optimizer:
            yield f"Optimizer.2.{OPTIMIZERS.name_of(config.Optimizer[2])} trains nothing: its lr alone has an effect"
        return
    given = {f"Loss.{key}": key in losses for key in META_LOSSES}
    given["DataLoader.Metalearning"] = config.DataLoader.Metalearning is not None
    given["Global.warmup_iter"] = config.Global.warmup_iter is not None
    for key in (key for key, is_there in given.items() if is_there):
        yield f"{key} has no effect: Global.train_mode {METABIN} alone reads it"


def _check_metabin(config: Any) -> None:
    _check_network(config)
    if config.Global.update_freq != 1:
        raise at_key("Global.update_freq", f"must be 1 with train_mode {METABIN}, which steps twice for each batch")
    for key in META_LOSSES if config.Loss else ():
        if key not in config.Loss.lists:
            raise at_key(
                f"Loss.{key}", f"needed with Global.train_mode {METABIN}, and not given: a list like Loss.Train"
            )
    if config.Optimizer:
        _check_optimizers(config.Optimizer)
    if config.DataLoader.Train is not None:
        _check_images(config.DataLoader.Metalearning)


def _check_network(config: Any) -> None:
    backbone = config.Arch.family_options.get("Backbone")
    key, name = "Arch.name", config.Arch.name
    if isinstance(backbone, Mapping):
        key, name = "Arch.Backbone.name", backbone.get("name")
    if config.Arch.together:
        raise at_key("Global.train_mode", f"{METABIN} trains one network, and Arch.name {name} has several")
    if name not in catalog.gated():
        raise at_key(
            "Global.train_mode",
            f"{METABIN} trains the gates of a network, and {key} {name} has none; use {', '.join(catalog.gated())}, or "
            "leave train_mode out",
        )


def _check_optimizers(section: Any) -> None:
    if len(section) != len(_OPTIMIZERS):
        raise at_key(
            "Optimizer", f"Global.train_mode {METABIN} needs three, found {len(section)}: {'; '.join(_OPTIMIZERS)}"
        )
    if section[2].lr.watcher() is not None:
        raise at_key("Optimizer.2.lr.name", "watches evaluations; use a function of the step there, such as Cyclic")


def _check_images(split: Any) -> None:
    if split is None:
        raise at_key(
            "DataLoader.Metalearning",
            f"needed with Global.train_mode {METABIN}, and not given: {{Train: {{...}}}} like DataLoader.Train, with "
            "sampler DomainShuffleBatchSampler",
        )
    dataset = split.Train.dataset
    if not dataset.tells_cameras:
        fitting = ", ".join(name for name in DATASETS if DATASETS.get(name).tells_cameras)
        raise at_key(
            "DataLoader.Metalearning.Train.dataset.name",
            f"{DATASETS.name_of(dataset)} tells no camera of an image, and gates learn across cameras; choose one of "
            f"{fitting}",
        )
    if split.Train.dataset.batch_transform_ops:
        raise at_key("DataLoader.Metalearning.Train.dataset.batch_transform_ops", "mix images of several cameras")


_CHECKS: Mapping[str | None, Callable[[Any], None]] = MappingProxyType({METABIN: _check_metabin})

"""What a resumed run has in common with the one that was stopped, and what is said where it has not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ppcls_compress.config.schema import Config
from ppcls_compress.data.options import LoaderConfig
from ppcls_compress.engine import distributed

Settings = dict[str, Any]
"""By configuration key, or in words where there is none: what decides a run's weights, beside data and structure."""

_OF_SPLIT = {"dataset": True, "sampler": True}
_DECIDING: dict[str, Any] = {
    "Global": {"epochs", "update_freq", "iter_per_epoch", "train_mode", "warmup_iter"},
    "Optimizer": True,
    "EMA": True,
    "Loss": {"Train", "Basic", "MetaTrain", "MetaTest"},
    "AMP": True,
    "DataLoader": {"Train": _OF_SPLIT, "Metalearning": {"Train": _OF_SPLIT}},
}
_WHEREABOUTS = ("skip_bad_images", "allow_outside")
"""Of a data set, beside its paths: the same images may lie elsewhere by now."""


def settings_of(config: Config, *, images: int) -> Settings:
    """What decides a run's weights; `images` is how many there are in an epoch of this process."""
    chosen = config.model_dump(mode="json", include=_DECIDING)
    _leave_whereabouts_out(chosen["DataLoader"]["Train"], config.DataLoader.Train)
    if config.DataLoader.Metalearning is not None:
        _leave_whereabouts_out(chosen["DataLoader"]["Metalearning"]["Train"], config.DataLoader.Metalearning.Train)
    return {**dict(_flat(chosen)), "processes": distributed.world_size(), "images in an epoch": images}


def _leave_whereabouts_out(split: dict[str, Any], options: LoaderConfig) -> None:
    whereabouts = {*_WHEREABOUTS, *options.dataset.paths}
    split["dataset"] = {key: value for key, value in split["dataset"].items() if key not in whereabouts}


def _flat(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping | list) and node:
        for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def differences(then: Settings, now: Settings) -> list[str]:
    """One line for each setting that is not what it was; empty where nothing is known of then."""
    if not then:
        return []
    return [
        f"{key} was {then.get(key)!r}, is {now.get(key)!r} now"
        for key in dict.fromkeys([*then, *now])
        if then.get(key) != now.get(key)
    ]

"""Candidates that meet the target before they are trained: what one will cost is counted, and its share lowered."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn

from ppcls_compress.config.schema import SlimSection
from ppcls_compress.deploy import formats
from ppcls_compress.deploy.measure.layers import layers_of
from ppcls_compress.deploy.profiling import write_rehearsed
from ppcls_compress.engine import assemble
from ppcls_compress.errors import UserError
from ppcls_compress.search import judge
from ppcls_compress.search.preparing import Ready
from ppcls_compress.search.shares import counts_of, rising
from ppcls_compress.search.space import Candidate
from ppcls_compress.slim import recipe

_TRIES = 5
_CLOSER = 0.99
"""A share that cost too much is lowered by so much more than the excess, because counts of channels are whole, and by
more each time, because timings are noisy."""
_ENOUGH = 0.95
_CAREFUL = 0.98
"""A file that takes less than `_ENOUGH` of what it may is pruned less, to take `_CAREFUL` of it: it is timed again."""
_BEYOND_INTEGERS = 3
"""Bytes that a weight in float has more than one in integers."""


def fitted(ready: Ready, candidate: Candidate) -> tuple[Candidate, dict[str, Any]]:
    """The candidate, pruned as far as the target takes and hardly further, and its section `Slim`.

    Nothing is trained for it: multiply-adds and parameters are counted, bytes follow from parameters, latencies from
    the profile. Where this machine's latency counts, which files alone have, one is written and timed.

    Raises:
        UserError: the layers' sensitivities allow no such ratios, or no share meets the target.
    """
    auto, low, high = ready.seen.Slim.auto, None, 1.0
    tried: list[tuple[float, float]] = []
    for number in range(1, _TRIES + 1):
        section = ready.slim_of(candidate)
        if auto.share is None:
            return candidate, section
        tried.append((candidate.share, expected(ready, section)))
        share, cost = tried[-1]
        if cost <= auto.share:
            low, aim = (candidate, section), _CAREFUL * auto.share
            if not ready.workshop.timed or cost >= _ENOUGH * auto.share or share >= _CLOSER * high:
                break
        else:
            high, aim = share, _CLOSER**number * auto.share
        candidate = replace(candidate, share=_between(_costing(aim, tried), low[0].share if low else 0.0, high))
    if low is None:
        found = f"is to have {cost:.1%} of the {auto.cost}, and {auto.share:.1%} are allowed"
        raise UserError(f"{candidate.title}: {found}")
    return low


def _costing(aim: float, tried: Sequence[tuple[float, float]]) -> float:
    """The share that is to cost `aim`: on the line through the last two that were tried, or in proportion to one."""
    share, cost = tried[-1]
    if len(tried) > 1 and (share - tried[-2][0]) * (cost - tried[-2][1]) > 0:
        return share + (aim - cost) * (share - tried[-2][0]) / (cost - tried[-2][1])
    return share * aim / cost


def _between(share: float, low: float, high: float) -> float:
    return share if low < share < high else (low + high) / 2


def expected(ready: Ready, section: dict[str, Any]) -> float:
    """What a file of a section `Slim` is to cost, as a share of the dense one's cost that the contract is about."""
    seen, cost, dense = ready.seen, ready.seen.Slim.auto.cost, ready.dense_costs
    if ready.workshop.timed:
        return _timed(ready, section)
    model, record = assemble.build_model(seen.model_copy(update={"Slim": None}))
    if "prune" in section:
        options = SlimSection(prune=section["prune"]).options
        model, record = recipe.compress(model, options, [[1, *seen.Global.image_shape]])
    counted = assemble.cost_of(seen, record)
    kept = {"params": counted.params / dense.params, "flops": counted.flops / dense.flops}
    if cost in kept:
        return kept[cost]
    if ready.workshop.profile is not None:
        return _by_profile(ready, model, section)
    integers = "quant" in section
    share = float(np.interp(kept[counts_of(cost)], *rising(ready.anchors, integers=integers)))
    if cost == "bytes" and integers:
        share += _BEYOND_INTEGERS * _weights(ready, model, section) / dense.bytes
    return share


def _by_profile(ready: Ready, model: nn.Layer, section: dict[str, Any]) -> float:
    layers = layers_of(model, ready.seen.Global.image_shape)
    spared = section["quant"].get("skip", ()) if "quant" in section else [layer.name for layer in layers]
    quantized = {layer.name for layer in layers}.difference(spared)
    return judge.predicted(ready.seen, layers, quantized, ready.workshop.profile)


def _timed(ready: Ready, section: dict[str, Any]) -> float:
    name, runtime = ready.seen.Slim.auto.place
    options = SlimSection(**{key: value for key, value in section.items() if key != "distill"}).options
    with tempfile.TemporaryDirectory() as folder:
        write_rehearsed(ready.seen, Path(folder), formats.get(name), options)
        return judge.costs(Path(folder), ready.workshop.dense_artifact, runtime, timed=True).latency


def _weights(ready: Ready, model: nn.Layer, section: dict[str, Any]) -> int:
    """How many weights stay float beside integers."""
    spared = section["quant"].get("skip", ())
    layers = [layer for layer in layers_of(model, ready.seen.Global.image_shape) if layer.name in spared]
    return sum(layer.weights for layer in layers)

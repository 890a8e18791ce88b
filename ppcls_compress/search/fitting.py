"""Candidates that meet the target before they are trained: what one will cost is counted, and its share lowered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from paddle import nn

from ppcls_compress.config.schema import SlimSection
from ppcls_compress.deploy.measure.layers import layers_of
from ppcls_compress.engine import assemble
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import UserError
from ppcls_compress.search import judge
from ppcls_compress.search.preparing import Ready
from ppcls_compress.search.shares import counts_of, file_costs, rising
from ppcls_compress.search.space import Candidate
from ppcls_compress.slim import recipe
from ppcls_compress.slim.copying import copied

_TRIES = 5
_CLOSER = 0.99
"""A share that cost too much is lowered by so much more than the excess, because counts of channels are whole, and by
more each time, because timings are noisy."""
_SURE = 0.98
"""A timed file has to take so much less than it may, because it is timed again when it is trained."""
_ENOUGH = 0.92
_GAIN = 0.01
"""A file that takes less than `_ENOUGH` of that is pruned less, as long as each try adds so much of the dense cost."""
_BEYOND_INTEGERS = 3
"""Bytes that a weight in float has more than one in integers."""


def fitted(ready: Ready, candidate: Candidate) -> tuple[Candidate, dict[str, Any]]:
    """The candidate, pruned as far as the target takes and hardly further, and its section `Slim`.

    Nothing is trained for it: multiply-adds and parameters are counted, bytes follow from parameters, latencies from
    the profile. Where this machine's latency counts, which files alone have, one is written and timed.

    Raises:
        UserError: the layers' sensitivities allow no such ratios, or no share meets the target.
    """
    auto, timed = ready.seen.Slim.auto, ready.workshop.timed
    if auto.share is None:
        return candidate, ready.slim_of(candidate)
    most = auto.share * (_SURE if timed else 1.0)
    tried: list[_Try] = []
    for number in range(_TRIES):
        if tried:
            aim = _SURE if tried[-1].cost <= most else _CLOSER ** (number if timed else 1)
            candidate = replace(candidate, share=_next(tried, aim * most, most))
        try:
            section = ready.slim_of(candidate)
            tried.append(_Try(candidate, section, expected(ready, section)))
        except UserError:
            if not tried:
                raise
            break  # nothing smaller can be made, and what was tried tells what that costs
        if timed:
            logger.info("%s: a file takes %.1f%% of the dense one's %s", candidate.title, 100 * tried[-1].cost,
                        auto.cost)  # fmt: skip
        if tried[-1].cost <= most and (not timed or _is_enough(tried, most)):
            break
    found = _largest(tried, most) or _largest(tried, auto.share)
    if found is None:
        told = f"is to have {tried[-1].cost:.1%} of the {auto.cost}, and {auto.share:.1%} are allowed"
        raise UserError(f"{tried[-1].candidate.title}: {told}")
    return found.candidate, found.section


@dataclass(frozen=True)
class _Try:
    """A candidate, its section `Slim`, and what its file is to cost."""

    candidate: Candidate
    section: dict[str, Any]
    cost: float

    @property
    def share(self) -> float:
        return self.candidate.share


def _is_enough(tried: Sequence[_Try], most: float) -> bool:
    """Whether pruning less than the last one is impossible, or not worth another file."""
    last, high = tried[-1], min((each.share for each in tried if each.cost > most), default=1.0)
    gained = len(tried) < 2 or tried[-2].cost > most or last.cost - tried[-2].cost > _GAIN
    return last.cost >= _ENOUGH * most or last.share >= _CLOSER * high or not gained


def _largest(tried: Sequence[_Try], most: float) -> _Try | None:
    """What keeps the most of those that cost no more than `most`."""
    return max((each for each in tried if each.cost <= most), key=lambda each: each.share, default=None)


def _next(tried: Sequence[_Try], aim: float, most: float) -> float:
    """The share that is to cost `aim`, above all that cost less than they may, and below all that cost more."""
    share = _costing(aim, tried)
    low = max((each.share for each in tried if each.cost <= most), default=0.0)
    high = min((each.share for each in tried if each.cost > most), default=1.0)
    return share if low < share < high else (low + high) / 2


def _costing(aim: float, tried: Sequence[_Try]) -> float:
    """The share that is to cost `aim`: on the line through the last two that were tried, or in proportion to one."""
    last, before = tried[-1], tried[-2] if len(tried) > 1 else None
    if before is not None and (last.share - before.share) * (last.cost - before.cost) > 0:
        return last.share + (aim - last.cost) * (last.share - before.share) / (last.cost - before.cost)
    return last.share * aim / last.cost


def expected(ready: Ready, section: dict[str, Any]) -> float:
    """What a file of a section `Slim` is to cost, as a share of the dense one's cost that the contract is about."""
    seen, cost, dense = ready.seen, ready.seen.Slim.auto.cost, ready.dense_costs
    if ready.workshop.timed:
        return _timed(ready, section)
    model, record = ready.dense
    if "prune" in section:
        options = SlimSection(prune=section["prune"]).options
        model, record = recipe.compress(copied(model), options, [[1, *seen.Global.image_shape]])
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
    options = SlimSection(**{key: value for key, value in section.items() if key != "distill"}).options
    return file_costs(ready.seen, options, ready.workshop.dense_artifact).latency


def _weights(ready: Ready, model: nn.Layer, section: dict[str, Any]) -> int:
    """How many weights stay float beside integers."""
    spared = section["quant"].get("skip", ())
    layers = [layer for layer in layers_of(model, ready.seen.Global.image_shape) if layer.name in spared]
    return sum(layer.weights for layer in layers)

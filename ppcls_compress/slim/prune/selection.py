"""Which units go: scores per group, ratios, targets, alignment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import gcd

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.errors import UserError, unknown
from ppcls_compress.slim.options_prune import PruneOptions
from ppcls_compress.slim.prune.channels import Channels, Group
from ppcls_compress.slim.prune.context import Origin
from ppcls_compress.slim.prune.criteria import CRITERIA, Filters, ranking
from ppcls_compress.slim.prune.plan import Plan
from ppcls_compress.slim.prune.surgery import view

_GLOBAL_FLOOR = 0.1
"""Under one global ranking every group keeps at least this share of its units, so that no layer runs dry."""


@dataclass(frozen=True)
class Candidates:
    """Groups to prune and the scores of their units.

    Attributes:
        orders: per group, its units from the least important to the most.
        scores: per group, one score per unit, divided by the group's mean.
    """

    channels: Channels
    groups: list[Group]
    scores: list[np.ndarray]
    orders: list[np.ndarray]

    def plan(self, counts: list[int]) -> Plan:
        """Removes the `counts[i]` least important units of group i."""
        removed = [g.roots[order[:n]] for g, order, n in zip(self.groups, self.orders, counts, strict=True)]
        return Plan(self.channels, self.channels.mask(removed))


def filters_of(channels: Channels, origin: Origin, *, gradient: bool, norm: bool) -> Filters:
    """A layer's weight (and what a criterion asks for beside it) with its output axis first."""
    tensor = channels.tracing.graph.tensors[origin.weight]
    weight = _rows(tensor, origin.axis)
    slope = _rows(tensor.grad, origin.axis) if gradient and tensor.grad is not None else None
    return Filters(origin.weight, weight, slope, _norm_scale(channels, origin) if norm else None)


def _rows(tensor: paddle.Tensor, axis: int) -> np.ndarray:
    array = float_values(tensor)
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)


def float_values(tensor: paddle.Tensor) -> np.ndarray:
    """The tensor in single precision, read-only and not copied where possible."""
    values = view(tensor) if "float32" in str(tensor.dtype) else None
    return tensor.astype("float32").numpy() if values is None else values


def _norm_scale(channels: Channels, origin: Origin) -> np.ndarray | None:
    tracing = channels.tracing
    labels = channels.root[origin.labels]
    for op in tracing.graph.ops:
        if op.name in ("batch_norm", "sync_batch_norm") and op.inputs[3] in tracing.graph.parameters:
            name = tracing.graph.parameters[op.inputs[3]]
            bound = tracing.bindings.get((name, 0))
            if bound is not None and np.array_equal(channels.root[bound], labels):
                return tracing.graph.tensors[name].numpy()
    return None


def unit_means(scores: np.ndarray, units: np.ndarray, count: int) -> np.ndarray:
    """Mean of the scores of each unit's channels."""
    ours = units >= 0
    total = np.bincount(units[ours], weights=scores[ours], minlength=count)
    return total / np.maximum(np.bincount(units[ours], minlength=count), 1)


class Scorer:
    """Scores units by the options' criterion; every layer is scored once, however often the groups are asked for."""

    def __init__(self, options: PruneOptions) -> None:
        self.options = options
        self.criterion = CRITERIA.get(options.name, where="Slim.prune.name")
        self._layers: dict[str, np.ndarray] = {}

    def score(self, channels: Channels, groups: list[Group]) -> Candidates:
        """With `scope: group` the mean over the coupled layers, each divided by its mean; else the first layer's."""
        scores = []
        for group in groups:
            members = group.members if self.options.scope == "group" else group.members[:1]
            total = np.zeros(len(group))
            for member in members:
                own = unit_means(self._layer(channels, member.origin), member.units, len(group))
                total += own / max(float(own.mean()), np.finfo(np.float64).tiny)
            scores.append(total / len(members))
        return Candidates(channels, groups, scores, [ranking(s) for s in scores])

    def _layer(self, channels: Channels, origin: Origin) -> np.ndarray:
        if origin.weight not in self._layers:
            name = self.options.name
            filters = filters_of(channels, origin, gradient=name == "taylor", norm=name == "bn_scale")
            self._layers[origin.weight] = self.criterion(filters)
        return self._layers[origin.weight]


def select(candidates: Candidates, options: PruneOptions, measure: Callable[[Plan], float] | None = None) -> Plan:
    """The plan that the options ask for.

    Args:
        measure: for a target: plan -> share of the dense network's cost that is left (or milliseconds).

    Raises:
        UserError: a glob matches no layer that can be pruned, or the target cannot be met within two points.
    """
    if options.target is None:
        return candidates.plan(_counts(candidates, options, group_ratios(candidates.groups, options.ratio)))
    name, wanted = options.target
    low, high = 0.0, 1.0
    best: tuple[float, Plan] | None = None
    for _ in range(24 if name != "latency_ms" else 8):
        middle = (low + high) / 2
        plan = candidates.plan(_counts(candidates, options, [middle] * len(candidates.groups)))
        cost = measure(plan)
        if best is None or abs(cost - wanted) < abs(best[0] - wanted):
            best = (cost, plan)
        low, high = (middle, high) if cost > wanted else (low, middle)
    tolerance = 0.02 if name != "latency_ms" else 0.1 * wanted
    if abs(best[0] - wanted) > tolerance:
        raise UserError(f"target_{name}: {wanted} cannot be met; the nearest that these layers allow is {best[0]:.3g}")
    return best[1]


def group_ratios(groups: list[Group], ratio: float | Mapping[str, float]) -> list[float]:
    """The share of each group's channels to remove.

    Raises:
        UserError: a glob matches no layer of these groups.
    """
    if not isinstance(ratio, Mapping):
        return [ratio] * len(groups)
    used: set[str] = set()
    ratios = []
    for group in groups:
        found = 0.0
        for member in group.members:
            glob = next((g for g in ratio if matches(member.origin, g)), None)
            if glob is not None:
                used |= {g for g in ratio if any(matches(m.origin, g) for m in group.members)}
                found = ratio[glob]
                break
        ratios.append(found)
    for glob in ratio:
        if glob not in used:
            names = [member.origin.owner for group in groups for member in group.members]
            raise UserError(f"pruned_ratio: {unknown('prunable layer', glob, names)}")
    return ratios


def matches(origin: Origin, pattern: str) -> bool:
    """Whether a path, a glob over paths, or a weight's name means this layer."""
    return fnmatchcase(origin.owner, pattern) or fnmatchcase(origin.weight, pattern)


def _counts(candidates: Candidates, options: PruneOptions, ratios: list[float]) -> list[int]:
    """How many units each group loses."""
    sizes = [len(group) for group in candidates.groups]
    if options.global_:
        wanted = _global_counts(candidates, ratios[0])
    else:
        wanted = [removed_count(size, ratio) for size, ratio in zip(sizes, ratios, strict=True)]
    if options.align is None:
        return wanted
    return [_aligned(g, n, options.align) if n else 0 for g, n in zip(candidates.groups, wanted, strict=True)]


def removed_count(size: int, ratio: float) -> int:
    """PaddleSlim's rule: rounded half to even, at least one stays."""
    return min(size - 1, round(size * ratio))


def _global_counts(candidates: Candidates, ratio: float) -> list[int]:
    """The lowest scores of all groups together; a unit counts as often as it has channels."""
    scores = np.concatenate(candidates.scores)
    where = np.repeat(np.arange(len(candidates.groups)), [len(s) for s in candidates.scores])
    weights = np.array([sum(int((m.units >= 0).sum()) for m in g.members) / len(g) for g in candidates.groups])[where]
    order = ranking(scores)
    chosen = order[np.cumsum(weights[order]) <= ratio * weights.sum()]
    counts = np.bincount(where[chosen], minlength=len(candidates.groups))
    return [
        min(int(n), len(g) - max(1, round(len(g) * _GLOBAL_FLOOR)))
        for n, g in zip(counts, candidates.groups, strict=True)
    ]


def _aligned(group: Group, removed: int, align: int) -> int:
    """The removal count nearest to the asked one that keeps a multiple of `align` channels in every layer."""
    step = 1
    for member in group.members:
        per_unit = max(1, int((member.units >= 0).sum()) // len(group))
        need = align // gcd(align, per_unit)
        step = step * need // gcd(step, need)
    kept = len(group) - removed
    kept = max(step, round(kept / step) * step)
    return len(group) - min(kept, len(group))


def skipped(model: nn.Layer, rules: tuple[str, ...]) -> dict[str, str]:
    """Path of each layer that a rule names -> the rule.

    Raises:
        UserError: a rule matches no layer.
    """
    found: dict[str, str] = {}
    for pattern in rules:
        hits = [
            path
            for path, layer in model.named_sublayers(include_self=True)
            if fnmatchcase(path, pattern) or type(layer).__name__ == pattern
        ]
        if not hits:
            names = [path for path, _ in model.named_sublayers()]
            raise UserError(f"skip: {unknown('layer name, glob or type', pattern, names)}")
        found.update({path: found.get(path, pattern) for path in hits})
    return found

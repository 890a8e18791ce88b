"""Which units go: scores per group, ratios, alignment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import gcd

import numpy as np
import paddle

from ppcls_compress.errors import ConfigError, unknown
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune.choose.criteria import CRITERIA, Filters, ranking
from ppcls_compress.slim.prune.choose.stage import Stage
from ppcls_compress.slim.prune.cut.plan import Plan
from ppcls_compress.slim.prune.cut.surgery import view
from ppcls_compress.slim.prune.trace.channels import Channels, Group, Member
from ppcls_compress.slim.prune.trace.context import Origin, Tracing
from ppcls_compress.slim.prune.trace.norms import norms_behind

_GLOBAL_FLOOR = 0.1
"""Under one global ranking every group keeps at least this share of its units, so that no layer runs dry."""


@dataclass(frozen=True)
class Candidates:
    """Groups to prune and the scores of their units.

    Attributes:
        orders: per group, its units from the least important to the most.
        scores: per group, one score per unit, divided by the group's mean.
        sizes: per group, how many units it had before the first of several steps.
        others: groups that lose nothing, whose layers a ratio may name all the same.
    """

    channels: Channels
    groups: list[Group]
    scores: list[np.ndarray]
    orders: list[np.ndarray]
    sizes: list[int]
    others: list[Group]

    def plan(self, counts: list[int]) -> Plan:
        """Removes the `counts[i]` least important units of group i."""
        removed = [g.roots[order[:n]] for g, order, n in zip(self.groups, self.orders, counts, strict=True)]
        return Plan(self.channels, self.channels.mask(removed))


def _rows(tensor: paddle.Tensor, axis: int) -> np.ndarray:
    array = float_values(tensor)
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)


def float_values(tensor: paddle.Tensor) -> np.ndarray:
    """The tensor in single precision, read-only and not copied where possible."""
    values = view(tensor) if "float32" in str(tensor.dtype) else None
    return tensor.astype("float32").numpy() if values is None else values


def unit_means(scores: np.ndarray, units: np.ndarray, count: int) -> np.ndarray:
    """Mean of the scores of each unit's channels."""
    ours = units >= 0
    total = np.bincount(units[ours], weights=scores[ours], minlength=count)
    return total / np.maximum(np.bincount(units[ours], minlength=count), 1)


class Scorer:
    """Scores units by the options' criterion; every layer is scored once, however often the groups are asked for."""

    def __init__(self, options: PruneOptions, tracing: Tracing, stage: Stage) -> None:
        self.options = options
        self.stage = stage
        self.criterion = CRITERIA.get(options.name, where="Slim.prune.name")
        self._tensors = tracing.graph.tensors
        self._norms = norms_behind(tracing) if self.criterion.needs_norms else None
        self._layers: dict[str, np.ndarray] = {}

    def members(self, group: Group) -> tuple[Member, ...]:
        """The layers that have a say in a group: those that the criterion can score; with `scope: layer` one."""
        able = tuple(m for m in group.members if self._norms is None or m.origin.weight in self._norms)
        return able if self.options.scope == "group" else able[:1]

    def score(self, channels: Channels, groups: list[Group], others: list[Group]) -> Candidates:
        """With `scope: group` the mean over the coupled layers, each divided by its mean; else the first layer's."""
        scores = []
        for group in groups:
            members = self.members(group)
            total = np.zeros(len(group))
            for member in members:
                own = unit_means(self._layer(member.origin), member.units, len(group))
                total += own / max(float(own.mean()), np.finfo(np.float64).tiny)
            scores.append(total / len(members))
        sizes = [self.stage.dense_units(group) for group in groups]
        return Candidates(channels, groups, scores, [ranking(s) for s in scores], sizes, others)

    def _layer(self, origin: Origin) -> np.ndarray:
        if origin.weight not in self._layers:
            self._layers[origin.weight] = self.criterion.score(self._filters(origin))
        return self._layers[origin.weight]

    def _filters(self, origin: Origin) -> Filters:
        """The weight with its output axis first, and what the criterion asks for beside it."""
        tensor = self._tensors[origin.weight]
        differentiated = self.criterion.needs_gradients and tensor.grad is not None
        slope = _rows(tensor.grad, origin.axis) if differentiated else None
        scale = float_values(self._tensors[self._norms[origin.weight]]) if self._norms is not None else None
        return Filters(origin.weight, _rows(tensor, origin.axis), slope, scale)


def group_ratios(groups: list[Group], ratio: float | Mapping[str, float], others: Iterable[Group] = ()) -> list[float]:
    """The share of each group's channels to remove.

    Of several globs that match a layer the first counts. Within a group a later glob gives way to an earlier one when
    it matches the earlier one's layers too, as `*` does.

    Args:
        others: groups that lose nothing whatever is asked of them.

    Raises:
        ConfigError: a glob matches no layer of these groups, never counts, or contradicts another one within a group.
    """
    if not isinstance(ratio, Mapping):
        return [ratio] * len(groups)
    used: set[str | None] = set()
    ratios = []
    leaders = {group.members[0].origin.weight for group in groups}
    for group in groups:
        chosen: dict[str, list[Origin]] = {}
        for member in group.members:
            glob = glob_of(member.origin, ratio)
            if chosen and member.origin.weight in leaders - {group.members[0].origin.weight}:
                continue  # its ratio is for the group that it leads, as `ppcls-compress sensitivity` means it
            if glob is not None:
                chosen.setdefault(glob, []).append(member.origin)
        used.update(chosen)
        ratios.append(_common_ratio(chosen, ratio))
    used.update(glob_of(member.origin, ratio) for group in others for member in group.members)
    for glob in ratio:
        if glob not in used:
            origins = [member.origin for group in groups for member in group.members]
            first = next((glob_of(origin, ratio) for origin in origins if matches(origin, glob)), None)
            if first is not None:
                raise ConfigError(f"pruned_ratio: {glob!r} has no effect behind {first!r}; put it before that")
            raise ConfigError(f"pruned_ratio: {unknown('prunable layer', glob, [origin.owner for origin in origins])}")
    return ratios


def _common_ratio(chosen: Mapping[str, list[Origin]], ratio: Mapping[str, float]) -> float:
    """The ratio of a group, from the globs that count for its layers."""
    globs = [glob for glob in ratio if glob in chosen]
    if not globs:
        return 0.0
    first = globs[0]
    for other in globs[1:]:
        if ratio[other] != ratio[first] and not all(matches(origin, other) for origin in chosen[first]):
            raise ConfigError(
                f"pruned_ratio: {first!r} says {ratio[first]} and {other!r} says {ratio[other]}, but "
                f"{chosen[first][0].owner} and {chosen[other][0].owner} lose the same channels; give both one ratio"
            )
    return ratio[first]


def glob_of(origin: Origin, ratio: Mapping[str, float]) -> str | None:
    """The first glob that means this layer."""
    return next((glob for glob in ratio if matches(origin, glob)), None)


def matches(origin: Origin, pattern: str) -> bool:
    """Whether a path, a glob over paths, or a weight's name means this layer."""
    return fnmatchcase(origin.owner, pattern) or fnmatchcase(origin.weight, pattern)


def removals(candidates: Candidates, options: PruneOptions, ratios: list[float], widest: int | None) -> list[int]:
    """How many units each group loses when these shares of the dense network's are to be gone.

    Args:
        widest: the largest multiple of `align` that wide groups keep multiples of.
    """
    groups = candidates.groups
    if options.global_:
        wanted = _global_counts(candidates, ratios[0])
    else:
        wanted = [still_to_remove(*sizes) for sizes in zip(map(len, groups), candidates.sizes, ratios, strict=True)]
    if options.align is None:
        return wanted
    blocks = [_block(size, options.align, widest) for size in candidates.sizes]
    return [_aligned(g, n, block) if n else 0 for g, n, block in zip(groups, wanted, blocks, strict=True)]


def _block(size: int, align: int, widest: int) -> int:
    """The largest multiple of `align` up to `widest` of which a group has at least four."""
    while 2 * align <= widest and size >= 8 * align:
        align *= 2
    return align


def still_to_remove(size: int, dense: int, ratio: float) -> int:
    """Units to remove of `size` when `ratio` of the `dense` ones are to be gone."""
    return max(0, size - (dense - removed_count(dense, ratio)))


def removed_count(size: int, ratio: float) -> int:
    """PaddleSlim's rule: rounded half to even, at least one stays."""
    return min(size - 1, round(size * ratio))


def _global_counts(candidates: Candidates, ratio: float) -> list[int]:
    """The lowest scores of all groups together; a unit counts as often as it has channels.

    What a group at its floor keeps, the others lose.
    """
    groups = candidates.groups
    where = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    order = ranking(np.concatenate(candidates.scores))
    weights = np.array([sum(int((m.units >= 0).sum()) for m in g.members) / len(g) for g in groups])
    gone = sum(w * (dense - len(g)) for w, dense, g in zip(weights, candidates.sizes, groups, strict=True))
    budget = ratio * float(weights @ candidates.sizes) - gone
    free = np.zeros(len(order), dtype=bool)
    for index, (group, dense) in enumerate(zip(groups, candidates.sizes, strict=True)):
        most = max(0, len(group) - max(1, round(dense * _GLOBAL_FLOOR)))
        free[np.flatnonzero(where[order] == index)[:most]] = True
    order = order[free]
    chosen = order[np.cumsum(weights[where[order]]) <= budget]
    return np.bincount(where[chosen], minlength=len(groups)).tolist()


def _aligned(group: Group, removed: int, align: int) -> int:
    """The removal count nearest to the asked one that keeps a multiple of `align` channels in every layer."""
    step = _units_at_once(group, align)
    kept = len(group) - removed
    kept = max(step, round(kept / step) * step)
    return len(group) - min(kept, len(group))


def one_step_more(group: Group, removed: int, align: int | None) -> int | None:
    """The next larger removal count that keeps a multiple of `align` channels in every layer; None at the last one."""
    step = _units_at_once(group, align or 1)
    kept = (len(group) - removed - 1) // step * step
    return len(group) - kept if kept > 0 else None


def _units_at_once(group: Group, align: int) -> int:
    step = 1
    for member in group.members:
        per_unit = max(1, int((member.units >= 0).sum()) // len(group))
        need = align // gcd(align, per_unit)
        step = step * need // gcd(step, need)
    return step

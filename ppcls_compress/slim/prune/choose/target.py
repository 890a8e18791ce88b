"""The plan that the options ask for: by ratios, or the one that meets a target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ppcls_compress.errors import ConfigError
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune.choose.selection import Candidates, group_ratios, one_step_more, removals
from ppcls_compress.slim.prune.choose.stage import Stage
from ppcls_compress.slim.prune.cut.plan import Plan

_WIDEST_BLOCK = 64
"""Output channels that oneDNN's integer kernels compute at a time with AVX-512.

Layers that keep multiples of it, or of the largest part of it of which they have four, lose more latency for the same
multiply-adds: see `benchmarks/pruned_latency.py`.
"""
_NEAR = 0.01
"""What wide blocks may miss of a target before narrower ones are tried; half of what is refused."""
_NEAR_IN_TIME = 0.05
"""The same of a latency, as a share of it."""


@dataclass(frozen=True)
class _Found:
    """A plan and its cost."""

    cost: float
    counts: list[int]
    plan: Plan


def select(
    candidates: Candidates, options: PruneOptions, stage: Stage, measure: Callable[[Plan], float] | None = None
) -> Plan:
    """The plan that the options ask for at this stage.

    Args:
        measure: for a target: plan -> share of the dense network's cost that is left (or milliseconds).

    Raises:
        ConfigError: a glob matches no layer that can be pruned, or the target cannot be met: within two points, a
            latency within 10%.
    """
    if options.target is None:
        goals = group_ratios(candidates.groups, options.ratio, candidates.others)
        ratios = [stage.ratio(ratio) for ratio in goals]
        return candidates.plan(removals(candidates, options, ratios, options.align))
    name, goal = options.target
    tolerance = 0.02 if name != "latency_ms" else 0.1 * goal
    search = _Search(candidates, options, measure)
    if not (stage.is_last or stage.earlier):  # told before hours of training, not after them
        _refuse_beyond(tolerance, options, search.nearest(goal).cost)
    none = candidates.plan([0] * len(candidates.groups))
    wanted = stage.latency(goal, measure(none)) if name == "latency_ms" else stage.share(goal)
    found = search.nearest(wanted)
    if stage.is_last:
        _refuse_beyond(tolerance, options, found.cost)
    return found.plan


def _refuse_beyond(tolerance: float, options: PruneOptions, nearest: float) -> None:
    name, goal = options.target
    if abs(nearest - goal) > tolerance:
        raise ConfigError(f"target_{name}: {goal} cannot be met; the nearest that these layers allow is {nearest:.3g}")


@dataclass(frozen=True)
class _Search:
    """Looks for the plan whose cost is nearest to a wanted one.

    Wide blocks come first, then narrower ones where those miss, down to `align` itself. A measured latency is searched
    by ratio alone, because noise hides what single groups change, and may miss by half of what is refused.
    """

    candidates: Candidates
    options: PruneOptions
    measure: Callable[[Plan], float]

    def nearest(self, wanted: float) -> _Found:
        """The nearest plan that was found."""
        timed = self.options.target_latency_ms is not None
        near = _NEAR_IN_TIME * wanted if timed else _NEAR
        best: _Found | None = None
        for widest in self._blocks():
            found = self._bracket(wanted, widest, rounds=8)[0] if timed else self._mixed(wanted, widest)
            best = _nearer(found, best, wanted)
            if abs(best.cost - wanted) <= near:
                break
        return best

    def _blocks(self) -> list[int | None]:
        align = self.options.align
        if align is None:
            return [None]
        blocks = [align]
        while 2 * blocks[-1] <= _WIDEST_BLOCK:
            blocks.append(2 * blocks[-1])
        return blocks[::-1]

    def _bracket(self, wanted: float, widest: int | None, rounds: int) -> tuple[_Found, list[int], list[int] | None]:
        """By bisection over one ratio for all groups: the nearest plan, and the counts on both sides of it."""
        size = len(self.candidates.groups)
        low, high = 0.0, 1.0
        fewer, more, best = [0] * size, None, None
        for _ in range(rounds):
            middle = (low + high) / 2
            found = self._try(removals(self.candidates, self.options, [middle] * size, widest))
            best = _nearer(found, best, wanted)
            if found.cost > wanted:
                low, fewer = middle, found.counts
            else:
                high, more = middle, found.counts
        return best, fewer, more

    def _mixed(self, wanted: float, widest: int | None) -> _Found:
        """Groups of one size change at the same ratio: there, some of them may, those that matter least first."""
        best, counts, more = self._bracket(wanted, widest, rounds=24)
        above = self._try(counts)
        for index in self._by_importance(counts, more) if more is not None else []:
            counts = list(above.counts)
            counts[index] = more[index]
            found = self._try(counts)
            best = _nearer(found, best, wanted)
            if found.cost > wanted:  # else this step is too long, and a shorter one may still fit
                above = found
        return best if widest != self.options.align else self._step_by_step(above, best, wanted)

    def _step_by_step(self, above: _Found, best: _Found, wanted: float) -> _Found:
        """Where no ratio comes near: single steps of single groups, the least important that does not go too far."""
        while abs(best.cost - wanted) > _NEAR:
            further = [
                one_step_more(group, count, self.options.align) or count
                for group, count in zip(self.candidates.groups, above.counts, strict=True)
            ]
            for index in self._by_importance(above.counts, further):
                counts = list(above.counts)
                counts[index] = further[index]
                found = self._try(counts)
                best = _nearer(found, best, wanted)
                if found.cost > wanted:
                    above = found
                    break
            else:
                break
        return best

    def _try(self, counts: list[int]) -> _Found:
        plan = self.candidates.plan(counts)
        return _Found(self.measure(plan), counts, plan)

    def _by_importance(self, fewer: list[int], more: list[int]) -> list[int]:
        """The groups that differ, the one whose units in question score lowest first."""
        scored = zip(self.candidates.scores, self.candidates.orders, fewer, more, strict=True)
        means = {i: score[order[a:b]].mean() for i, (score, order, a, b) in enumerate(scored) if b > a}
        return sorted(means, key=means.get)


def _nearer(found: _Found, best: _Found | None, wanted: float) -> _Found:
    return found if best is None or abs(found.cost - wanted) < abs(best.cost - wanted) else best

"""What removing a set of channels means: kept indices per parameter axis, new sizes, new shapes, new cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ppcls_compress.slim.graph import Shape
from ppcls_compress.slim.prune.trace.channels import Channels
from ppcls_compress.slim.prune.trace.formula import Held
from ppcls_compress.slim.prune.trace.labels import Labels


@dataclass(frozen=True)
class Plan:
    """Channels to keep.

    Attributes:
        keep: mask over labels.
        before: mask over labels of what the network has still, all of it unless earlier plans were carried out. What
            these removed is not in `keep` either.
    """

    channels: Channels
    keep: np.ndarray
    before: np.ndarray | None = None

    @cached_property
    def kept(self) -> dict[str, dict[int, np.ndarray]]:
        """Parameter name -> axis -> ascending kept indices, for every axis that loses some."""
        kept: dict[str, dict[int, np.ndarray]] = {}
        for (name, axis), labels in self.channels.tracing.bindings.items():
            alive = self.keep[labels]
            if not alive.all():
                kept.setdefault(name, {})[axis] = np.flatnonzero(alive)
        order = self.channels.tracing.graph.tensors
        return {name: dict(sorted(kept[name].items())) for name in order if name in kept}

    @cached_property
    def cuts(self) -> dict[str, dict[int, np.ndarray]]:
        """As `kept`, but in the positions that the parameters have now, and only for axes that lose some now."""
        if self.before is None:
            return self.kept
        cuts: dict[str, dict[int, np.ndarray]] = {}
        for name, axes in self.kept.items():
            for axis in axes:
                labels = self.channels.tracing.bindings[name, axis]
                alive = self.keep[labels[self.before[labels]]]
                if not alive.all():
                    cuts.setdefault(name, {})[axis] = np.flatnonzero(alive)
        return cuts

    def count(self, labels: Labels) -> int:
        """How many of these positions stay."""
        return int(self.keep[labels].sum())

    @cached_property
    def attributes(self) -> dict[Held, int]:
        """The numbers held by layers that have to become others."""
        now = np.ones_like(self.keep) if self.before is None else self.before
        counts = self.channels.terms.held.items()
        return {held: count.left(self.keep) for held, count in counts if count.left(self.keep) != count.left(now)}

    @cached_property
    def is_doubtful(self) -> bool:
        """Whether it removes channels whose number the network's own code looks at."""
        return not self.keep[self.channels.doubtful].all()

    @cached_property
    def picks(self) -> dict[str, np.ndarray]:
        """Buffer name -> the numbers it must hold, for every buffer by whose numbers channels are picked."""
        picks = {}
        for name, pick in self.channels.tracing.picks.items():
            alive = self.keep[pick.labels]
            if not alive.all():
                position = np.cumsum(alive) - 1
                picks[name] = position[pick.index[alive[pick.index]]]
        return picks

    def old_shapes(self) -> dict[str, Shape]:
        """Every value's shape in the network as it is now."""
        if self.before is None:
            return self.channels.tracing.graph.shapes
        return Plan(self.channels, self.before).shapes()

    def shapes(self) -> dict[str, Shape]:
        """Every value's shape in the pruned network."""
        tracing = self.channels.tracing
        shapes = dict(tracing.graph.shapes)
        known: dict[int, int] = {}
        for value, axes in tracing.values.items():
            for axis, labels in axes.items():
                if id(labels) not in known:
                    known[id(labels)] = self.count(labels)
                shapes[value] = (*shapes[value][:axis], known[id(labels)], *shapes[value][axis + 1 :])
        for value, name in tracing.graph.parameters.items():
            for axis, indices in self.kept.get(name, {}).items():
                shapes[value] = (*shapes[value][:axis], len(indices), *shapes[value][axis + 1 :])
        return shapes

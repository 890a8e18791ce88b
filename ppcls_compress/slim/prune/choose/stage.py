"""Where a step of iterative pruning stands between the dense network and the goal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ppcls_compress.errors import ConfigError
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune.trace.channels import Group
from ppcls_compress.slim.prune.trace.context import Origin


@dataclass(frozen=True)
class Stage:
    """One of several steps; the only one unless `iterative` says otherwise.

    All goals are shares of the dense network, so that what a step rounds, the next one makes good.

    Attributes:
        earlier: records of the steps before.
    """

    number: int = 1
    steps: int = 1
    earlier: tuple[Mapping[str, object], ...] = ()

    @staticmethod
    def of(options: PruneOptions, earlier: Sequence[Mapping[str, object]]) -> Stage:
        """The step after the `earlier` ones.

        Raises:
            ConfigError: there is none, or the first record does not say what the dense network was.
        """
        if options.iterative is None:
            return Stage()
        number, steps = len(earlier) + 1, options.iterative.steps
        if number > steps:
            raise ConfigError(f"iterative: {len(earlier)} steps were taken already, steps says {steps}")
        missing = [key for key in ("before", "layers") if earlier and key not in earlier[0]]
        if missing:
            raise ConfigError(
                f"iterative: the record of the first step lacks {missing[0]!r}, so the next cannot follow it"
            )
        return Stage(number, steps, tuple(earlier))

    @property
    def is_last(self) -> bool:
        """Whether the goal is to be met now."""
        return self.number == self.steps

    @property
    def may_change_nothing(self) -> bool:
        """A step may find its goal met already; all of them together may not."""
        return not self.is_last or any(step["kept"] for step in self.earlier)

    def share(self, goal: float) -> float:
        """What is to be left by now of the dense network, when `goal` of it is to be left in the end."""
        return goal if self.is_last else goal ** (self.number / self.steps)

    def ratio(self, goal: float) -> float:
        """The share to be removed by now, when `goal` is to be removed in the end."""
        return goal if self.is_last else 1 - self.share(1 - goal)

    def latency(self, goal: float, now: float) -> float:
        """The latency to reach; the dense network's is not in the record, so this one goes on from the present."""
        return goal if self.is_last else now * (goal / now) ** (1 / (self.steps - self.number + 1))

    def dense_cost(self, name: str, now: int) -> int:
        """The dense network's `flops` or `params`; `now` is the present network's."""
        return self.earlier[0]["before"][name] if self.earlier else now

    def dense_channels(self, origin: Origin) -> int:
        """How many output channels the layer had."""
        now = len(origin.labels)
        layers = self.earlier[0]["layers"] if self.earlier else ()
        shapes = (layer["before"]["shape"] for layer in layers if layer["name"] == origin.owner)
        return max(now, next((shape[origin.axis] for shape in shapes if shape), now))

    def dense_units(self, group: Group) -> int:
        """How many units the group had."""
        origin = group.members[0].origin
        return round(len(group) * self.dense_channels(origin) / len(origin.labels))

"""Learning rates as they go: what an optimizer asks for its rate, and what a run steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from paddle.optimizer.lr import LRScheduler

from ppcls_compress.optim.schedules import Watcher


class Schedule(LRScheduler):
    """Paddle's scheduler over a function of the number of optimizer steps taken, or over what evaluations find."""

    def __init__(self, rate: Callable[[int], float], watcher: Watcher | None = None) -> None:
        self._rate = rate
        self._watcher = watcher
        super().__init__(learning_rate=rate(0))

    def get_lr(self) -> float:
        """The rate at the present step."""
        return self._rate(self.last_epoch) if self._watcher is None else self._watcher.rate

    def evaluated(self, value: float) -> None:
        """Take note of the main metric of an evaluation."""
        if self._watcher is not None:
            self._watcher.evaluated(value)
            self.last_lr = self.get_lr()

    def state_dict(self) -> dict[str, Any]:
        """The step, and what evaluations have found where they decide."""
        found = super().state_dict()
        return found if self._watcher is None else {**found, "watcher": self._watcher.state()}

    def set_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a step, at the rate that this schedule has there, whatever another one had."""
        watched = state_dict.get("watcher")
        super().set_state_dict({key: value for key, value in state_dict.items() if key != "watcher"})
        if self._watcher is not None and watched is not None:
            self._watcher.restore(watched)
        self.last_lr = self.get_lr()

    def go_to(self, step: int) -> None:
        """Go on from a step."""
        self.set_state_dict({**self.state_dict(), "last_epoch": step})


class ScheduleGroup:
    """Schedules of several optimizers, stepped together."""

    def __init__(self, members: Sequence[Schedule]) -> None:
        self.members = tuple(members)

    def step(self) -> None:
        """One step of each."""
        for member in self.members:
            member.step()

    def evaluated(self, value: float) -> None:
        """Tell each the main metric of an evaluation."""
        for member in self.members:
            member.evaluated(value)

    def go_to(self, step: int) -> None:
        """Go on from a step."""
        for member in self.members:
            member.go_to(step)

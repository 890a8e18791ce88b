"""A learning rate that falls when evaluations find no progress."""

from __future__ import annotations

from typing import Protocol

from ppcls_compress.errors import UserError, shortened


class Rules(Protocol):
    """When the rate falls, and how far; the options of `ReduceOnPlateau`."""

    mode: str
    factor: float
    patience: float
    threshold: float
    threshold_mode: str
    cooldown: float
    min_lr: float
    epsilon: float


_KINDS = {
    "rate": (float, int),
    "best": (float, int, type(None)),
    "without_progress": (int,),
    "cooling": (int,),
}


class Plateau:
    """Counts evaluations since the best one, as `paddle.optimizer.lr.ReduceOnPlateau` does.

    Attributes:
        rate: the learning rate now.
    """

    def __init__(self, rate: float, rules: Rules) -> None:
        self.rate = rate
        self._rules = rules
        self._best: float | None = None
        self._without_progress = 0
        self._cooling = 0

    def evaluated(self, value: float) -> None:
        """Take note of one evaluation's main metric."""
        if self._cooling:
            self._cooling -= 1
            return
        if self._best is None or self._better(value):
            self._best, self._without_progress = value, 0
        else:
            self._without_progress += 1
        if self._without_progress > self._rules.patience:
            self._cooling, self._without_progress = int(self._rules.cooldown), 0
            lower = max(self.rate * self._rules.factor, self._rules.min_lr)
            if self.rate - lower > self._rules.epsilon:
                self.rate = lower

    def _better(self, value: float) -> bool:
        rules = self._rules
        margin = rules.threshold * (self._best if rules.threshold_mode == "rel" else 1.0)
        return value < self._best - margin if rules.mode == "min" else value > self._best + margin

    def state(self) -> dict[str, float | int | None]:
        """Plain values, from which `restore` goes on."""
        return {
            "rate": self.rate,
            "best": self._best,
            "without_progress": self._without_progress,
            "cooling": self._cooling,
        }

    def restore(self, state: dict[str, float | int | None]) -> None:
        """Go on from a saved state.

        Raises:
            UserError: it is not one.
        """
        known = isinstance(state, dict) and state.keys() == _KINDS.keys()
        if not known or any(type(value) not in _KINDS[key] for key, value in state.items()):
            raise UserError(f"the state of ReduceOnPlateau: expected {', '.join(_KINDS)}, found {shortened(state)}")
        self.rate, self._best = state["rate"], state["best"]
        self._without_progress, self._cooling = state["without_progress"], state["cooling"]

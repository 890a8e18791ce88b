"""Learning-rate schedules in closed form: the rate is a function of the step, so a resumed run has the same one."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable

from paddle.optimizer.lr import LRScheduler

from ppcls_compress.config import optim as options

RateFunction = Callable[[float], float]


class Schedule(LRScheduler):
    """Paddle's scheduler over a function of the number of optimizer steps taken."""

    def __init__(self, rate: Callable[[int], float]) -> None:
        self._rate = rate
        super().__init__(learning_rate=rate(0))

    def get_lr(self) -> float:
        """The rate at the present step."""
        return self._rate(self.last_epoch)

    def set_state_dict(self, state_dict: dict[str, object]) -> None:
        """Go on from a step, at the rate that this schedule has there, whatever another one had."""
        super().set_state_dict(state_dict)
        self.last_lr = self.get_lr()


def build_schedule(config: options.ScheduleOptions, *, epochs: int, steps_per_epoch: int) -> Schedule:
    """The schedule that `Optimizer.lr` describes, to be stepped once per optimizer step."""
    after_warmup = _DECAYS[config.name](config, epochs)
    peak = after_warmup(0.0)

    def rate(step: int) -> float:
        epoch = step / steps_per_epoch
        if config.by_epoch:
            epoch = math.floor(epoch)
        if epoch < config.warmup_epoch:
            return config.warmup_start_lr + (peak - config.warmup_start_lr) * epoch / config.warmup_epoch
        return after_warmup(epoch - config.warmup_epoch)

    return Schedule(rate)


def _constant(config: options.Constant, epochs: int) -> RateFunction:
    return lambda epoch: config.learning_rate


def _cosine(config: options.Cosine, epochs: int) -> RateFunction:
    length = max(epochs - config.warmup_epoch, 1e-9)

    def rate(epoch: float) -> float:
        half = (1 + math.cos(math.pi * min(epoch / length, 1.0))) / 2
        return config.eta_min + (config.learning_rate - config.eta_min) * half

    return rate


def _piecewise(config: options.Piecewise, epochs: int) -> RateFunction:
    return lambda epoch: config.values[bisect_right(config.decay_epochs, epoch + 1e-9)]


def _step(config: options.Step, epochs: int) -> RateFunction:
    return lambda epoch: config.learning_rate * config.gamma ** math.floor(epoch / config.step_size + 1e-9)


def _multi_step(config: options.MultiStepDecay, epochs: int) -> RateFunction:
    return lambda epoch: config.learning_rate * config.gamma ** bisect_right(config.milestones, epoch + 1e-9)


_DECAYS: dict[str, Callable[..., RateFunction]] = {
    "Constant": _constant,
    "Cosine": _cosine,
    "Piecewise": _piecewise,
    "Step": _step,
    "MultiStepDecay": _multi_step,
}

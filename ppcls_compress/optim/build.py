"""Optimizers and learning-rate schedules built from the configuration."""

from __future__ import annotations

from collections.abc import Callable

import paddle
from paddle.optimizer.lr import LRScheduler

from ppcls_compress.optim.optimizers import Optimizer, Trained
from ppcls_compress.optim.schedules import ScheduleOptions


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

    def go_to(self, step: int) -> None:
        """Go on from a step."""
        self.set_state_dict({**self.state_dict(), "last_epoch": step})


def build_schedule(options: ScheduleOptions, *, epochs: int, steps_per_epoch: int) -> Schedule:
    """The schedule that `Optimizer.lr` describes, to be stepped once per optimizer step."""
    return Schedule(options.rate(epochs=epochs, steps_per_epoch=steps_per_epoch))


def build_optimizer(options: Optimizer, schedule: Schedule, model: paddle.nn.Layer) -> paddle.optimizer.Optimizer:
    """The optimizer of the model's parameters, which must be final: pruned, and with all quantizers in place.

    A parameter's own `optimize_attr['learning_rate']` and `regularizer` (PACT's alpha has them) take precedence.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if not parameter.stop_gradient]
    own = {parameter.name for _, parameter in named if getattr(parameter, "regularizer", None) is not None}
    bare = {parameter.name for name, parameter in named if _without_decay(options, name, parameter)} - own
    shared = {
        "learning_rate": schedule,
        "grad_clip": paddle.nn.ClipGradByNorm(options.clip_norm) if options.clip_norm else None,
        "multi_precision": options.multi_precision,
    }
    return options.build(Trained([parameter for _, parameter in named], frozenset(bare), frozenset(own), shared))


def _without_decay(options: Optimizer, name: str, parameter: paddle.Tensor) -> bool:
    if options.one_dim_param_no_weight_decay and parameter.ndim <= 1:
        return True
    return any(part in name for part in (options.no_weight_decay_name or "").split())

"""What a way to train (`Global.train_mode`) changes in a run, and the ordinary way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import paddle

from ppcls_compress.config.schema import Config
from ppcls_compress.data import Loader, SyntheticLoader
from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.training import Training

MoreImages = Callable[[], Loader | SyntheticLoader]
"""A fresh loader of what a way to train reads beside `DataLoader.Train`."""


class Update:
    """What the gradients of a batch are for: one step of every optimizer."""

    def step(self, trainer: Training) -> None:
        """The step, whose gradients are there; none is left after it."""
        trainer.precision.step(trainer.optimizer)

    def further(self, trainer: Training, index: int) -> dict[str, paddle.Tensor]:
        """What is learned after it, before rates move on; terms to tell of, by name.

        Args:
            index: position of the batch in the epoch, from 0.
        """
        return {}


def _ordinary(config: Config, trainer: Training, more: MoreImages) -> Update:
    return Update()


@dataclass(frozen=True)
class Mode:
    """One way to train.

    Attributes:
        loss: the list of the `Loss` section that a batch of `DataLoader.Train` is for.
        optimizers: how many entries of the `Optimizer` section train something, the first ones; None for all.
        lead: steps before the first one that counts.
        hooks: made for each run.
        update: what is done in a step, for a trainer that has everything else.
    """

    loss: str = "Train"
    optimizers: int | None = None
    lead: Callable[[Config], int] = lambda config: 0
    hooks: tuple[Callable[[], Hook], ...] = ()
    update: Callable[[Config, Training, MoreImages], Update] = _ordinary

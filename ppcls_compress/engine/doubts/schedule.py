"""Doubts about the learning rate."""

from __future__ import annotations

from collections.abc import Iterator

from ppcls_compress.config.schema import Config
from ppcls_compress.optim.schedules.decays import ReduceOnPlateau


def about_warm_up(config: Config) -> Iterator[str]:
    """A warm-up that outlasts the run never comes to the rate that is configured."""
    epochs = config.Global.epochs
    warm_up = max(options.lr.warmup_epoch for options in config.Optimizer)
    if warm_up >= epochs:
        yield (
            f"Optimizer.lr.warmup_epoch: {warm_up:g} epochs of warm-up in a run of {epochs}: its learning rate never "
            "decays, and comes to its full height at the very end or not at all"
        )


def about_watching(config: Config) -> Iterator[str]:
    """A schedule that watches evaluations needs some, and has to know which of two values is the better one."""
    modes = [options.lr.mode for options in config.Optimizer if isinstance(options.lr, ReduceOnPlateau)]
    if modes and not config.Global.eval_during_train:
        yield (
            "Optimizer.lr.name: ReduceOnPlateau lowers the rate by what evaluations find, and there are none; set "
            "Global.eval_during_train to True"
        )
        return
    metric = config.Metric.Eval[0]
    right, better = ("max", "larger") if metric.higher_is_better else ("min", "smaller")
    if set(modes) - {right}:
        yield (
            f"Optimizer.lr.mode: is not {right}, but {metric.main}, which ReduceOnPlateau watches, is {better} for a "
            f"better network: the rate falls while it gets better; set it to {right}"
        )

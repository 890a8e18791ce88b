"""Doubts about the learning rate."""

from __future__ import annotations

from collections.abc import Iterator

from ppcls_compress.config.schema import Config


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
    """A schedule that watches evaluations needs some."""
    if any(options.lr.watches for options in config.Optimizer) and not config.Global.eval_during_train:
        yield (
            "Optimizer.lr.name: ReduceOnPlateau lowers the rate by what evaluations find, and there are none; set "
            "Global.eval_during_train to True"
        )

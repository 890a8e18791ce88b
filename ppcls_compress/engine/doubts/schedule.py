"""Doubts about the learning rate."""

from __future__ import annotations

from collections.abc import Iterator

from ppcls_compress.config.schema import Config


def about_warm_up(config: Config) -> Iterator[str]:
    """A warm-up that outlasts the run never comes to the rate that is configured."""
    warm_up, epochs = config.Optimizer.lr.warmup_epoch, config.Global.epochs
    if warm_up >= epochs:
        yield (
            f"Optimizer.lr.warmup_epoch: {warm_up:g} epochs of warm-up in a run of {epochs}: its learning rate never "
            "decays, and comes to its full height at the very end or not at all"
        )

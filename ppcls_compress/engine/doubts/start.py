"""Doubts about what training starts from."""

from __future__ import annotations

from collections.abc import Iterator

from ppcls_compress.config.schema import Config


def about_pruning(config: Config) -> Iterator[str]:
    """Which filters go is chosen when training starts, by weights that say nothing if they are random."""
    backbone = config.Arch.family_options.get("Backbone") or {}
    named = (
        config.Global.checkpoints,
        config.Global.pretrained_model,
        config.Arch.pretrained,
        backbone.get("pretrained"),
    )
    if config.Slim and config.Slim.prune and not any(named):
        yield (
            "Slim.prune: filters are chosen by random weights, for nothing names trained ones; start from those, "
            "such as -o Global.pretrained_model=output/dense/best_model, or Arch.pretrained: True"
        )

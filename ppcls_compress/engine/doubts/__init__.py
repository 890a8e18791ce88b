"""What a run can do and a user can hardly want: told before hours of training go into it.

Each function gives lines, one for each doubt; what is certainly wrong is an error.
"""

from __future__ import annotations

from collections.abc import Iterator

from ppcls_compress.config.schema import Config
from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.engine.doubts import bits, classes, lists, preparation, schedule, start


def of_training(config: Config, train: LabelledImages, evaluated: LabelledImages | None) -> Iterator[str]:
    """The doubts about a training run.

    Args:
        train: all training images.
        evaluated: all validation images; None where there is no evaluation.
    """
    yield from classes.about_labels(config, train.labels)
    yield from classes.about_names(config)
    yield from lists.about_training(config, train, evaluated)
    yield from of_evaluation(config, evaluated)
    yield from preparation.about_training(config)
    yield from preparation.about_inference(config)
    yield from schedule.about_warm_up(config)
    yield from schedule.about_watching(config)
    yield from bits.about_ranges(config)
    yield from start.about_pruning(config)


def of_evaluation(config: Config, evaluated: LabelledImages | None) -> Iterator[str]:
    """The doubts about a score."""
    if evaluated is not None:
        yield from lists.about_evaluation(config, evaluated)
        yield from classes.about_judged(config, evaluated.labels)
        yield from preparation.about_evaluation(config)

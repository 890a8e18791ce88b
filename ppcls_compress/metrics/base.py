"""What a metric declares, and the registry of metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from ppcls_compress.declare import Declarations, Options
from ppcls_compress.outputs import Output

MetricFunction = Callable[[Output, np.ndarray], dict[str, float]]
"""The network's output, of arrays, and labels [N] to sums over the samples, by name."""


class Metric(Options):
    """One entry of the `Metric` section.

    Attributes:
        higher_is_better: which of two values chooses the best checkpoint.
    """

    higher_is_better: ClassVar[bool] = True

    @property
    def main(self) -> str:
        """The name of the value that chooses the best checkpoint when this is the first metric of `Eval`."""
        raise TypeError(f"{type(self).__name__} has no main value of its own")

    def certain(self, class_num: int) -> Sequence[str]:
        """The names of the values that are 100% for every network that tells so many classes apart."""
        return ()

    def sums(self, output: Output, labels: np.ndarray) -> dict[str, float]:
        """The sum over the samples of each value, so that any split over batches or ranks adds up exactly."""
        raise TypeError(f"{type(self).__name__} has no sums of its own")


METRICS: Declarations[Metric] = Declarations("metric")

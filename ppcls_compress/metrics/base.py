"""What a metric declares, and the registry of metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field

from ppcls_compress.declare import Count, Declarations, Options
from ppcls_compress.outputs import Output

Rows = dict[str, np.ndarray]
"""What a metric keeps of some samples: arrays [N, ...] by name, a row for each sample."""


TopK = Annotated[
    tuple[Count, ...],
    Field(min_length=1),
    BeforeValidator(lambda value: [value] if isinstance(value, int) else value),
]
"""How many answers are looked at, several numbers or one."""


class Metric(Options):
    """One entry of the `Metric` section.

    A metric is a property of a whole set of samples. `keep` reduces a batch to what the metric needs of each sample,
    `measure` computes the metric from the rows of all samples, whatever batches and processes they come from; their
    order does not matter.

    Attributes:
        higher_is_better: which of two values chooses the best checkpoint.
        numbers: how the names of those of its values end that are no fractions, and not shown in percent.
        evaluates: the `Global.eval_mode` that it belongs to.
        labels: what it takes, `classes` (int64 [N] or [N, k]) or `attributes` (float32 [N, C]); None takes any.
    """

    higher_is_better: ClassVar[bool] = True
    numbers: ClassVar[tuple[str, ...]] = ()
    evaluates: ClassVar[str] = "classification"
    labels: ClassVar[str | None] = None

    @property
    def main(self) -> str:
        """The name of the value that chooses the best checkpoint when this is the first metric of `Eval`."""
        raise TypeError(f"{type(self).__name__} has no main value of its own")

    def certain(self, class_num: int) -> Sequence[str]:
        """The names of the values that are 100% for every network that tells so many classes apart."""
        return ()

    def keep(self, output: Output, labels: np.ndarray) -> Rows:
        """What is needed of each sample of a batch.

        Args:
            output: of the network, of float32 arrays.
            labels: of the batch.
        """
        raise TypeError(f"{type(self).__name__} has no keep of its own")

    def measure(self, rows: Rows) -> dict[str, float]:
        """The values by name, of the rows of all samples."""
        raise TypeError(f"{type(self).__name__} has no measure of its own")


METRICS: Declarations[Metric] = Declarations("metric")

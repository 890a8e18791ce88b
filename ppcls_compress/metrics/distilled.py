"""Metrics of one of several networks that learn from each other."""

from __future__ import annotations

import numpy as np

from ppcls_compress.metrics.base import METRICS, Rows
from ppcls_compress.metrics.topk import TopkAcc
from ppcls_compress.outputs import Output, of_network, part


@METRICS.declare
class DistillationTopkAcc(TopkAcc):
    """Top-k accuracy of one network.

    Attributes:
        model_key: that network.
        feature_key: which tensor of its output; None for its logits.
    """

    model_key: str
    feature_key: str | None = None

    @property
    def networks(self) -> tuple[str, ...]:
        """The one that is judged."""
        return (self.model_key,)

    def keep(self, output: Output, labels: np.ndarray) -> Rows:
        """As TopkAcc keeps of that network."""
        own = of_network(output, self.model_key)
        return super().keep(own if self.feature_key is None else part(own, self.feature_key), labels)

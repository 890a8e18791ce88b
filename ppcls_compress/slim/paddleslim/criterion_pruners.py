"""Filter pruners that score by a registered criterion, PaddleSlim's three under their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.paddleslim.collection import Collection
from ppcls_compress.slim.paddleslim.filter_pruner import FilterPruner
from ppcls_compress.slim.prune.choose.criteria import CRITERIA, Filters, ranking
from ppcls_compress.slim.prune.choose.selection import float_values, removed_count, unit_means
from ppcls_compress.slim.prune.trace.norms import norms_behind


class CriterionPruner(FilterPruner):
    """Removes the filters with the lowest scores of a registered criterion; see `pruner_class`.

    What the criterion needs besides the weights, their gradients or the scales of the batch norms behind them, is taken
    when the pruner is made.
    """

    criterion: str

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        needs, tensors = CRITERIA.get(self.criterion), self.network.tracing.graph.tensors
        norms = norms_behind(self.network.tracing) if needs.needs_norms else {}
        self._scales = {tensors[name].name: float_values(tensors[scale]) for name, scale in norms.items()}
        graded = [p for p in tensors.values() if needs.needs_gradients and getattr(p, "grad", None) is not None]
        self._gradients = {p.name: float_values(p.grad) for p in graded}

    def unscored(self) -> list[str]:
        """Paddle's names of the weights that the criterion has no score for, because no batch norm follows."""
        masters = [collection.master_name for collection in self.collections]
        return [name for name in masters if CRITERIA.get(self.criterion).needs_norms and name not in self._scales]

    def cal_mask(self, pruned_ratio: float, collection: Collection, num_head: int = -1) -> np.ndarray:
        """Lowest scores first; filters that go together are averaged, ties go to the lower index."""
        value = collection.values[collection.master_name]
        units = collection.units
        rows = _rows(value, collection.master_axis)
        if num_head > 0 and value.ndim == 2 and value.shape[1] in (value.shape[0], 3 * value.shape[0]):
            units = np.repeat(np.arange(num_head), value.shape[1] // num_head)
        slope = self._gradients.get(collection.master_name)
        slope = None if slope is None else _rows(slope, collection.master_axis)
        filters = Filters(collection.master_name, rows, slope, self._scales.get(collection.master_name))
        scores = CRITERIA.get(self.criterion).score(filters)
        count = int(units.max()) + 1
        doomed = ranking(unit_means(scores, units, count))[: removed_count(count, pruned_ratio)]
        return np.where(np.isin(units, doomed), 0, 1).astype("int32")


def _rows(value: np.ndarray, axis: int) -> np.ndarray:
    """[filters, elements]."""
    return np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)


def pruner_class(criterion: str) -> type[CriterionPruner]:
    """The pruner of a registered criterion.

    Raises:
        ConfigError: no such criterion.
    """
    CRITERIA.get(criterion)
    return type("CriterionPruner", (CriterionPruner,), {"criterion": criterion})


class FPGMFilterPruner(CriterionPruner):
    """Removes filters near the geometric median of their layer (He et al. 2019)."""

    criterion = "fpgm"

    def __init__(
        self,
        model: nn.Layer,
        inputs: Inputs,
        sen_file: str | Path | None = None,
        opt: paddle.optimizer.Optimizer | None = None,
        skip_leaves: bool = True,
    ) -> None:
        super().__init__(model, inputs, sen_file, opt, skip_leaves)


class L1NormFilterPruner(CriterionPruner):
    """Removes filters with the smallest mean absolute weight."""

    criterion = "l1_norm"


class L2NormFilterPruner(CriterionPruner):
    """Removes filters with the smallest Euclidean norm."""

    criterion = "l2_norm"

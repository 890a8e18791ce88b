"""Evaluation of any function from images to a network's output."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import paddle

from ppcls_compress.data import Loader
from ppcls_compress.engine import distributed
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import UserError
from ppcls_compress.losses import TotalLoss
from ppcls_compress.metrics import MetricFunction
from ppcls_compress.outputs import Output, mapped


def evaluate(
    predict: Callable[[paddle.Tensor], Output],
    batches: Iterable[tuple[paddle.Tensor, paddle.Tensor]],
    metric: MetricFunction,
    loss: TotalLoss | None = None,
) -> dict[str, float]:
    """Metrics, as fractions, and the mean loss over a data set.

    Args:
        predict: images [N, C, H, W] to logits [N, classes], or whatever output the metrics take.
        batches: (images, labels [N]); with several processes, each one's own share of the samples.
        metric: as `metrics.build_metric` gives it.
        loss: adds `loss`, the mean over samples, at the end.

    Raises:
        UserError: there is no sample at all.
    """
    # A process may have no sample at all; the names that processes add up must be the same everywhere.
    sums = dict.fromkeys(metric(np.zeros((0, 1)), np.zeros(0, np.int64)), 0.0)
    if loss is not None:
        sums["loss"] = 0.0
    count = 0.0
    with paddle.no_grad():
        for images, labels in batches:
            output = predict(images)
            found = metric(mapped(_as_array, output), labels.numpy())
            if loss is not None:
                found["loss"] = float(loss(output, labels, images).total) * len(labels)
            for name, value in found.items():
                sums[name] += value
            count += len(labels)
    totals = distributed.add_up({**sums, "count": count})
    count = totals.pop("count")
    if not count:
        raise UserError("there is nothing to evaluate on: none of the images could be read")
    return {name: totals[name] / count for name in sums}


def _as_array(tensor: paddle.Tensor) -> np.ndarray:
    return tensor.astype("float32").numpy()


def tell_skipped(loader: Loader, told: set[str]) -> None:
    """A warning for each image that a loader passed over, and which no score counts; `told` holds those told before."""
    for path, reason in loader.bad_images.items():
        if path not in told:
            logger.warning("not in the score: %s: %s", path, reason)
    told.update(loader.bad_images)


def evaluate_model(
    model: paddle.nn.Layer,
    batches: Iterable[tuple[paddle.Tensor, paddle.Tensor]],
    metric: MetricFunction,
    loss: TotalLoss | None = None,
) -> dict[str, float]:
    """`evaluate` of a network in evaluation mode; its mode is put back afterwards."""
    was_training = model.training
    model.eval()
    try:
        return evaluate(model, batches, metric, loss)
    finally:
        if was_training:
            model.train()

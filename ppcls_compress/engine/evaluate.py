"""Evaluation of any function from images to what a network gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import paddle

from ppcls_compress.data import Loader
from ppcls_compress.engine import distributed
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.progress import track
from ppcls_compress.errors import UserError
from ppcls_compress.losses import TotalLoss
from ppcls_compress.metrics import Kept, Metrics
from ppcls_compress.outputs import Output, mapped


def evaluate(
    predict: Callable[[paddle.Tensor], Output],
    batches: Iterable[tuple[paddle.Tensor, paddle.Tensor]],
    metrics: Metrics,
    loss: TotalLoss | None = None,
) -> dict[str, float]:
    """Metrics over a whole data set, and the mean loss.

    With several processes the metrics are computed from the samples of all of them, in every process alike.

    Args:
        predict: images [N, C, H, W] to what a network gives.
        batches: (images, labels); with several processes, each one's own share of the samples.
        metrics: what is measured.
        loss: adds `loss`, the mean over samples, at the end.

    Raises:
        UserError: there is no sample at all.
    """
    kept: list[Kept] = []
    summed = {"count": 0.0, "loss": 0.0}
    with paddle.no_grad():
        for images, labels in track(batches, "evaluating"):
            output = predict(images)
            kept.append(metrics.keep(arrays_of(output), labels.numpy()))
            summed["count"] += len(labels)
            if loss is not None:
                summed["loss"] += float(loss(output, labels, images).total) * len(labels)
    summed = distributed.add_up(summed)
    if not summed["count"]:
        raise UserError("there is nothing to evaluate on: none of the images could be read")
    found = metrics.measure(distributed.gather(kept))
    return found if loss is None else {**found, "loss": summed["loss"] / summed["count"]}


def arrays_of(output: Output) -> Output:
    """A network's output with float32 arrays for its tensors."""
    return mapped(lambda tensor: tensor.astype("float32").numpy(), output)


def tell_skipped(loader: Loader, told: set[str]) -> None:
    """A warning for each image that a loader passed over, and which no score counts; `told` holds those told before."""
    for path, reason in loader.bad_images.items():
        if path not in told:
            logger.warning("not in the score: %s: %s", path, reason)
    told.update(loader.bad_images)


def evaluate_model(
    model: paddle.nn.Layer,
    batches: Iterable[tuple[paddle.Tensor, paddle.Tensor]],
    metrics: Metrics,
    loss: TotalLoss | None = None,
) -> dict[str, float]:
    """`evaluate` of a network in evaluation mode; its mode is put back afterwards."""
    was_training = model.training
    model.eval()
    try:
        return evaluate(model, batches, metrics, loss)
    finally:
        if was_training:
            model.train()

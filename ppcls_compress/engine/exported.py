"""The evaluation of a network that is no Paddle model any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import paddle

from ppcls_compress.config.schema import Config
from ppcls_compress.engine.evaluate import evaluate, tell_skipped
from ppcls_compress.engine.judging import recognition_evaluator
from ppcls_compress.engine.measured import check_image_shape, evaluation_parts
from ppcls_compress.errors import ConfigError
from ppcls_compress.metrics import Metrics


def evaluate_exported(
    config: Config,
    predict: Callable[[np.ndarray], np.ndarray],
    image_shape: Sequence[int],
    source: str | Path,
    *,
    metrics: Metrics | None = None,
) -> dict[str, float]:
    """The metrics and loss of the configuration, of a network that is no Paddle model any more.

    Args:
        predict: images [N, C, H, W] to logits [N, classes].
        image_shape: (C, H, W) that it takes.
        source: where it comes from, for messages.
        metrics: in place of those of `Metric.Eval`, of classes.

    Raises:
        UserError: it takes other images, or tells other classes apart, than the configuration says.
    """
    if tuple(image_shape) != config.Global.image_shape:
        expected, found = list(config.Global.image_shape), list(image_shape)
        raise ConfigError(f"Global.image_shape: is {expected}, but {source} takes images of {found}")

    if config.Arch.gives_features and config.Global.eval_mode == "classification":
        raise ConfigError(
            f"Global.eval_mode: is classification, but {source} gives features; set Arch.infer_output_key to logits "
            "before the export, or evaluate retrieval"
        )
    if config.Global.eval_mode != "classification":
        return recognition_evaluator(config, lambda images: paddle.to_tensor(predict(images.numpy())))()

    def logits(images: paddle.Tensor) -> paddle.Tensor:
        found = predict(images.numpy())
        if found.shape[1] != config.Arch.class_num:
            raise ConfigError(
                f"Arch.class_num: is {config.Arch.class_num}, but {source} tells {found.shape[1]} classes apart"
            )
        return paddle.to_tensor(found)

    loader, *parts = evaluation_parts(config, metrics)
    check_image_shape(config, loader, "Eval")
    measured = evaluate(logits, loader, *parts)
    tell_skipped(loader, set())
    return measured

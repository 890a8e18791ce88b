"""What a configuration has measured of a network: on which images, by which metrics."""

from __future__ import annotations

from collections.abc import Callable

import paddle

from ppcls_compress.config.schema import Config
from ppcls_compress.data import Loader
from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.engine.doubts.lists import check_numbering
from ppcls_compress.engine.evaluate import evaluate_model, tell_skipped
from ppcls_compress.engine.forward import check_takes
from ppcls_compress.engine.judging import judging_loaders, recognition_evaluator
from ppcls_compress.engine.loaders import split_loader, training_loader
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.losses import TotalLoss, build_loss
from ppcls_compress.metrics import Metrics


def check_image_shape(
    config: Config, loader: Loader, mode: str, *, any_size: bool = False, model: paddle.nn.Layer | None = None
) -> None:
    """Prepare one batch, and compare its images with `Global.image_shape`, for which a network is pruned and exported.

    Args:
        any_size: only their channels.
        model: a network that may take images of another size; None for one that does not.

    Raises:
        UserError: they differ; the images cannot be read or prepared.
    """
    images = next((images for images, _ in loader), None)
    if images is None and loader.samples:
        raise UserError(f"DataLoader.{mode}: none of its images can be read")
    compared = slice(0, 1) if any_size or not loader.of_one_size else slice(None)
    if images is None or tuple(images.shape[1:])[compared] == config.Global.image_shape[compared]:
        return
    if model is not None and images.shape[1] == config.Global.image_shape[0]:
        who = f"Arch.name {config.Arch.name}"
        check_takes(model, images.shape[1:], class_num=config.Arch.class_num, who=who)
        logger.warning(
            "DataLoader.%s.dataset.transform_ops: make images of %s, on which the score is measured; "
            "Global.image_shape is %s, for which the network is pruned, counted and exported. For both alike: "
            "-o Global.image_shape=%s",
            mode,
            list(images.shape[1:]),
            list(config.Global.image_shape),
            list(images.shape[1:]),
        )
    else:
        raise ConfigError(
            f"Global.image_shape: is {list(config.Global.image_shape)}, but DataLoader.{mode}.dataset.transform_ops "
            f"make images of {list(images.shape[1:])}"
        )


def evaluator(
    config: Config, model: paddle.nn.Layer, *, checked: bool = False, metrics: Metrics | None = None
) -> Callable[[], dict[str, float]]:
    """A function that evaluates `model` on `DataLoader.Eval` with the metrics and losses of the configuration.

    Args:
        checked: whether it is known to take the images, see `check_image_shape`.
        metrics: in place of those of `Metric.Eval`, of classes.
    """
    if config.Global.eval_mode != "classification":
        return recognition_evaluator(config, model)
    loader, *parts = evaluation_parts(config, metrics)
    if not checked:
        check_image_shape(config, loader, "Eval", model=model)
    told: set[str] = set()

    def run() -> dict[str, float]:
        found = evaluate_model(model, loader, *parts)
        tell_skipped(loader, told)
        return found

    return run


def evaluation_parts(config: Config, metrics: Metrics | None = None) -> tuple[Loader, Metrics, TotalLoss | None]:
    """What evaluating takes beside a network; `metrics` in place of those of `Metric.Eval`."""
    loader = split_loader(config, "Eval")
    if loader.images.numbering is not None:
        _check_numbering(config, loader.images)
    return loader, metrics or Metrics(config.Metric.Eval), build_loss(config.Loss.Eval) if config.Loss else None


def _check_numbering(config: Config, evaluated: LabelledImages) -> None:
    """As `check_numbering`, where the training list is at hand."""
    if config.DataLoader.Train is None:
        return
    try:
        train = training_loader(config).images
    except UserError:  # evaluation does not need it
        return
    check_numbering(train, evaluated)


def judged_images(config: Config, *, model: paddle.nn.Layer | None = None) -> LabelledImages | None:
    """The images of `DataLoader.Eval`, the queries where there is a gallery; None where they are in no list.

    Args:
        model: prepare a batch of each split, and see that it takes them, as `check_image_shape` does.

    Raises:
        UserError: it does not.
    """
    if config.Global.eval_mode == "adaface":
        return None
    loaders = judging_loaders(config)
    for key, loader in loaders.items() if model is not None else ():
        check_image_shape(config, loader, key.removeprefix("DataLoader."), model=model)
    return next(iter(loaders.values())).images


def main_metric(config: Config) -> str:
    """The value that decides which checkpoint is best: the main one of the first metric."""
    return config.Metric.Eval[0].main

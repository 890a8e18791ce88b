"""What compression may need of a training run: batches, gradients, latency, training between iterations."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import paddle

from ppcls_compress.config.schema import Config
from ppcls_compress.data import Loader, SyntheticLoader
from ppcls_compress.engine import assemble, checkpoint, distributed
from ppcls_compress.engine.hooks.messages import Messages
from ppcls_compress.engine.hooks.nan_guard import NanGuard
from ppcls_compress.engine.hooks.shared_statistics import SharedStatistics
from ppcls_compress.engine.hooks.taking_part import TakingPart
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.modes.base import MoreImages
from ppcls_compress.engine.progress import track
from ppcls_compress.engine.together import Companions, around
from ppcls_compress.engine.trainer import build_trainer, training_loss
from ppcls_compress.optim.optimizers import is_gentle
from ppcls_compress.slim.recipe import CALIBRATION_BATCHES, Context, Record

Latency = Callable[[paddle.nn.Layer], float]
"""A network to the milliseconds that one image takes it, exported."""


def compression_context(
    config: Config,
    loader: Callable[[], Loader | SyntheticLoader],
    *,
    training_loader: Callable[[], Loader | SyntheticLoader] | None = None,
    calibration: Callable[[], Iterable[paddle.Tensor]] | None = None,
    calibration_batches: int = CALIBRATION_BATCHES,
    latency: Latency | None = None,
    keep_in: Path | None = None,
    companions: Companions | None = None,
    metalearning: MoreImages | None = None,
) -> Context:
    """The context of compression in a configured run.

    Args:
        loader: a fresh loader of training batches, of all of them in every process, so that all choose alike.
        training_loader: a fresh loader of this process' share of them, for training between two iterations; None
            takes `loader`.
        calibration: gives batches for the ranges of activations; None takes those of training.
        calibration_batches: how many batches ranges and gradients come from.
        latency: as `Context` takes it.
        keep_in: where the networks between two iterations are saved; None keeps none.
        companions: the networks that the configured one is trained with; None builds them where they are needed.
        metalearning: as `build_trainer` takes it.
    """

    def batches() -> itertools.chain:
        return (images for images, _ in loader())

    def gradients(model: paddle.nn.Layer) -> None:
        loss = training_loss(config)
        others = assemble.build_companions(config) if companions is None else companions
        model = around(model, config.Arch.together, others)
        model.eval()
        for images, labels in itertools.islice(loader(), calibration_batches):
            loss(model(images), labels, images).total.backward()

    def train(model: paddle.nn.Layer, record: Record) -> None:
        done = len(record["steps"])
        logger.info("training after iteration %d of %d", done, config.Slim.prune.iterative.steps)
        epochs = config.Slim.prune.iterative.epochs_per_step
        trainer = build_trainer(
            config,
            model,
            (training_loader or loader)(),
            epochs=epochs,
            companions=companions,
            metalearning=metalearning,
        )
        trainer.hooks = [Messages(config.Global.print_batch_step), NanGuard(config.Global.print_batch_step)]
        if distributed.world_size() > 1:
            trainer.hooks += [TakingPart(), SharedStatistics()]
        trainer.run()
        if keep_in is not None and distributed.is_main():
            checkpoint.save_model(keep_in / f"iteration_{done}", model, record)

    return Context(
        batches=batches,
        calibration=calibration,
        calibration_batches=calibration_batches,
        gradients=gradients,
        latency=None if latency is None else lambda model: distributed.from_main(latency(model)),
        train=train,
        epochs=config.Global.epochs,
        gentle=is_gentle(config.Optimizer or (), config.Global.epochs),  # none in files for inference alone
        shown=_shown,
    )


def _shown(items: Sequence[str], what: str) -> Iterable[str]:
    logger.info("%s: %d layers, one after the other", what, len(items))
    return track(items, what)

"""From a configuration and a model to the loop that trains it."""

from __future__ import annotations

import math
from functools import partial

import paddle

from ppcls_compress.config.schema import Config
from ppcls_compress.data import Loader, SyntheticLoader
from ppcls_compress.data.continued import ContinuedLoader
from ppcls_compress.engine import assemble, loaders, together
from ppcls_compress.engine.averages import MovingAverage
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.loop import Trainer
from ppcls_compress.engine.modes import mode_of
from ppcls_compress.engine.modes.base import MoreImages
from ppcls_compress.engine.precision import build_precision
from ppcls_compress.losses import TotalLoss, build_loss
from ppcls_compress.losses.distillation import with_teacher
from ppcls_compress.optim.build import build_optimizers
from ppcls_compress.optim.group import OptimizerGroup


def build_trainer(
    config: Config,
    model: paddle.nn.Layer,
    loader: Loader | ContinuedLoader | SyntheticLoader,
    *,
    epochs: int | None = None,
    companions: together.Companions | None = None,
    metalearning: MoreImages | None = None,
) -> Trainer:
    """The loop over `loader` for a model whose parameters are final.

    Args:
        epochs: in place of `Global.epochs`.
        companions: the networks that it is trained with; None builds those that are configured.
        metalearning: gives the loader of `DataLoader.Metalearning`, where the way to train reads it; None builds it.
    """
    mode = mode_of(config)
    if companions is None:
        companions = assemble.build_companions(config)
    model = together.around(model, config.Arch.together, companions)
    epochs = epochs or config.Global.epochs
    steps = math.ceil(len(loader) / config.Global.update_freq)
    precision = build_precision(config.AMP)
    loss = training_loss(config)
    section = config.Optimizer[: mode.optimizers]
    optimizer, schedule = build_optimizers(section, model, loss.layers(), epochs=epochs, steps_per_epoch=steps)
    tell_untrained(optimizer)
    model, optimizer = precision.prepare(model, optimizer)
    trainer = Trainer(
        model=model,
        loss=loss,
        optimizer=optimizer,
        schedule=schedule,
        loader=loader,
        epochs=epochs,
        seed=config.Global.seed,
        accumulate=config.Global.update_freq,
        precision=precision,
        average=None if config.EMA is None else MovingAverage(model, config.EMA.decay),
        leading=loader.leading() if isinstance(loader, ContinuedLoader) else (),
    )
    trainer.update = mode.update(config, trainer, metalearning or partial(loaders.metalearning_loader, config))
    return trainer


def tell_untrained(optimizer: paddle.optimizer.Optimizer | OptimizerGroup) -> None:
    """A warning that names parameters which are in no optimizer's scope."""
    names = list(optimizer.untrained) if isinstance(optimizer, OptimizerGroup) else []
    if names:
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        logger.warning("Optimizer: %s%s are in no optimizer's scope, and stay as they are", ", ".join(names[:4]), more)


def training_loss(config: Config) -> TotalLoss:
    """The losses of a batch of `DataLoader.Train`, mixed with a teacher's where `Slim.distill` names one.

    Raises:
        UserError: the teacher's weights do not fit.
    """
    loss = build_loss(getattr(config.Loss, mode_of(config).loss))
    options = config.Slim.distill if config.Slim else None
    if options is None:
        return loss
    teacher = assemble.build_teacher(config, options)
    return with_teacher(
        loss,
        teacher,
        weight=options.weight,
        temperature=options.temperature,
        multilabel=config.Global.use_multilabel,
    )

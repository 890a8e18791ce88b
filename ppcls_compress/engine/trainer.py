"""From a configuration and a model to the loop that trains it."""

from __future__ import annotations

import math

import paddle

from ppcls_compress.config.schema import Config
from ppcls_compress.data import Loader, SyntheticLoader
from ppcls_compress.engine import assemble
from ppcls_compress.engine.loop import Trainer
from ppcls_compress.engine.precision import build_precision
from ppcls_compress.losses import TotalLoss, build_loss
from ppcls_compress.losses.distillation import with_teacher
from ppcls_compress.optim.build import build_optimizer, build_schedule


def build_trainer(
    config: Config, model: paddle.nn.Layer, loader: Loader | SyntheticLoader, *, epochs: int | None = None
) -> Trainer:
    """The loop over `loader` for a model whose parameters are final; `epochs` in place of `Global.epochs`."""
    epochs = epochs or config.Global.epochs
    steps = math.ceil(len(loader) / config.Global.update_freq)
    schedule = build_schedule(config.Optimizer.lr, epochs=epochs, steps_per_epoch=steps)
    precision = build_precision(config.AMP)
    model, optimizer = precision.prepare(model, build_optimizer(config.Optimizer, schedule, model))
    return Trainer(
        model=model,
        loss=training_loss(config),
        optimizer=optimizer,
        schedule=schedule,
        loader=loader,
        epochs=epochs,
        seed=config.Global.seed,
        accumulate=config.Global.update_freq,
        precision=precision,
    )


def training_loss(config: Config) -> TotalLoss:
    """The losses of `Loss.Train`, mixed with a teacher's where `Slim.distill` names one.

    Raises:
        UserError: the teacher's weights do not fit.
    """
    loss = build_loss(config.Loss.Train)
    options = config.Slim.distill if config.Slim else None
    if options is None:
        return loss
    teacher = assemble.build_teacher(config, options)
    return with_teacher(loss, teacher, weight=options.weight, temperature=options.temperature)

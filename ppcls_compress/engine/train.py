"""A whole training run: the configuration's parts put together and handed to the loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import paddle

from ppcls_compress.config.runs import run_folder
from ppcls_compress.config.schema import Config
from ppcls_compress.config.train_modes import splits
from ppcls_compress.data.labels import LabelledImages
from ppcls_compress.engine import assemble, checkpoint, distributed, doubts
from ppcls_compress.engine.context import Latency, compression_context
from ppcls_compress.engine.doubts.classes import check_main_metric
from ppcls_compress.engine.doubts.lists import check_numbering
from ppcls_compress.engine.hooks import scalars
from ppcls_compress.engine.hooks.averaging import Averaging
from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.hooks.checkpoints import Checkpoints
from ppcls_compress.engine.hooks.distributions import Distributions
from ppcls_compress.engine.hooks.early_stopping import EarlyStopping
from ppcls_compress.engine.hooks.evaluation import Evaluation, describe
from ppcls_compress.engine.hooks.history import History
from ppcls_compress.engine.hooks.messages import Messages
from ppcls_compress.engine.hooks.nan_guard import NanGuard
from ppcls_compress.engine.hooks.quantizers import Quantizers
from ppcls_compress.engine.hooks.shared_statistics import SharedStatistics
from ppcls_compress.engine.hooks.taking_part import TakingPart
from ppcls_compress.engine.loaders import metalearning_loader, training_epochs, training_loader
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.loop import Trainer
from ppcls_compress.engine.measured import check_image_shape, evaluator, judged_images, main_metric
from ppcls_compress.engine.modes import mode_of
from ppcls_compress.engine.resume import differences, settings_of
from ppcls_compress.engine.samples import still_batches
from ppcls_compress.engine.trainer import build_trainer
from ppcls_compress.engine.training import Progress
from ppcls_compress.errors import ConfigError
from ppcls_compress.metrics import Metrics
from ppcls_compress.models.together import deployed
from ppcls_compress.slim import recipe
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.stopping import Request, postponed


def train(
    config: Config, *, extra_hooks: Sequence[Hook] = (), latency: Latency | None = None, strict: bool = False
) -> Progress:
    """Train as configured, from the start or from `Global.checkpoints`.

    Args:
        extra_hooks: after the engine's own.
        latency: measures a network, for `Slim.prune.target_latency_ms`.
        strict: refuse a damaged checkpoint even where the one before it can be resumed from.

    Raises:
        UserError: the data, the weights or the `Slim` section cannot be used; the loss stopped being finite.
    """
    assemble.start(config)
    distributed.start()
    if config.Global.eval_during_train:
        check_main_metric(config)
    if config.Global.checkpoints:
        config = _with_usable_checkpoint(config, strict=strict)
    finished = _finished(config) if config.Global.checkpoints else None
    if finished is not None:
        return finished
    curves = _curves(config)
    # Paddle numbers layers per process; names that start from zero make optimizer state portable between runs.
    with paddle.utils.unique_name.guard():
        paddle.seed(config.Global.seed)
        dense = assemble.build_dense(config)
        loader = training_epochs(config)
        metalearning = metalearning_loader(config) if "Metalearning" in splits(config) else None
        evaluated = None
        if config.Global.eval_during_train:
            evaluated = judged_images(config, model=dense)
        # Where evaluation has the shape, training images of another size are meant: networks gain from smaller ones.
        check_image_shape(config, loader, "Train", any_size=config.Global.eval_during_train)
        if metalearning is not None:
            check_image_shape(config, metalearning, "Metalearning.Train", any_size=True)
        _tell_doubts(config, loader.images, evaluated)
        companions = assemble.build_companions(config)
        context = compression_context(
            config,
            lambda: training_loader(config, shard=False),
            training_loader=lambda: training_loader(config),
            calibration=lambda: still_batches(config, recipe.CALIBRATION_BATCHES),
            latency=latency,
            keep_in=run_folder(config),
            companions=companions,
        )
        resumed = bool(config.Global.checkpoints)
        model, record = assemble.build_model(config, dense=dense, context=context, reinit_head=not resumed)
        trainer = build_trainer(config, model, loader, companions=companions, metalearning=lambda: metalearning)
        trainer.settings = settings_of(config, images=len(loader.images))
        if resumed:
            _resume(config, trainer)
        with postponed() as request:
            trainer.hooks = [*_hooks(config, trainer, record, request), *curves, *extra_hooks]
            return trainer.run()


def _tell_doubts(config: Config, train: LabelledImages, evaluated: LabelledImages | None) -> None:
    """One warning for each thing that is likely a mistake.

    Raises:
        ConfigError: the two lists number their classes differently.
    """
    if evaluated is not None and config.Global.eval_mode == "classification":
        check_numbering(train, evaluated)
    if distributed.is_main():
        for line in doubts.of_training(config, train, evaluated):
            logger.warning("%s", line)


def _with_usable_checkpoint(config: Config, *, strict: bool) -> Config:
    """The configuration with the checkpoint that the run goes on from; aloud where that is an earlier one."""
    prefix, reason = checkpoint.usable(checkpoint.plain_prefix(config.Global.checkpoints), strict=strict)
    if reason is None:
        return config
    logger.warning("Global.checkpoints: %s; going on from %s, which was saved before it", reason, prefix)
    return config.model_copy(update={"Global": config.Global.model_copy(update={"checkpoints": str(prefix)})})


def _finished(config: Config) -> Progress | None:
    """How far the run of `Global.checkpoints` is, if there is nothing left of it to train; None otherwise.

    Raises:
        UserError: the checkpoint is not complete, or has another seed.
    """
    states = checkpoint.read_states(checkpoint.plain_prefix(config.Global.checkpoints))
    if states["seed"] != config.Global.seed:
        raise ConfigError(
            f"Global.seed: is {config.Global.seed}, but the run of Global.checkpoints has {states['seed']}; to go on "
            "exactly they must be equal"
        )
    progress = Progress(**states["progress"])
    stopping = config.Global.early_stopping
    if progress.stopped and stopping is not None and progress.waited >= stopping.patience:
        logger.warning(
            "Global.checkpoints: %s is of a run that early stopping ended after epoch %d; nothing was done. "
            "-o Global.early_stopping=null, or more patience, goes on from there",
            config.Global.checkpoints,
            progress.epoch,
        )
        return progress
    if progress.epoch < config.Global.epochs:
        return None
    logger.warning(
        "Global.checkpoints: %s is of a finished run: %d epochs are trained, Global.epochs is %d; nothing was done. "
        "A larger Global.epochs goes on from there",
        config.Global.checkpoints,
        progress.epoch,
        config.Global.epochs,
    )
    return progress


def _resume(config: Config, trainer: Trainer) -> None:
    """Put a trainer where the checkpoint is, and say what is not as it was."""
    prefix = checkpoint.plain_prefix(config.Global.checkpoints)
    changed = differences(checkpoint.restore(prefix, trainer), trainer.settings)
    trainer.progress.stopped = False  # whether it is to end again, the present configuration says
    if trainer.progress.batch and any(line.startswith(_MAKING_BATCHES) for line in changed):
        trainer.progress.batch = 0  # the batches are others, even if they are as many, so the epoch begins anew
        trainer.schedule.go_to(trainer.progress.epoch * trainer.steps_per_epoch)
    for line in changed[:_SHOWN]:
        logger.warning("Global.checkpoints: %s", line)
    if len(changed) > _SHOWN:
        logger.warning("Global.checkpoints: and %d more settings are not what they were", len(changed) - _SHOWN)
    if changed:
        logger.warning(
            "Global.checkpoints: the run goes on after epoch %d, its learning rate with that of this epoch, but it is "
            "no longer the run that was stopped",
            trainer.progress.epoch,
        )


_SHOWN = 8
_MAKING_BATCHES = ("DataLoader.Train.sampler.", "Global.warmup_iter", "images in an epoch", "processes")


def tell_outcome(progress: Progress, config: Config) -> None:
    """The best epoch of a run, and its checkpoints as far as they are in its folder."""
    folder = run_folder(config)
    if progress.best is not None:
        metric = main_metric(config)
        best = describe({metric: progress.best})
        logger.info("best: %s in epoch %d%s", best, progress.best_epoch, _whose_best(folder, progress, metric))
    if checkpoint.saved_epoch(folder / "latest") is not None:
        logger.info("checkpoints are in %s", folder)


def _whose_best(folder: Path, progress: Progress, metric: str) -> str:
    """What is to be said of `best_model` where it is not of a run's own best epoch."""
    states = checkpoint.saved_states(folder / "best_model")
    if states is None:
        return f", which was saved elsewhere: there is no best_model of it in {folder}"
    there = states["progress"]
    if (there["epoch"], there["best"]) == (progress.best_epoch, progress.best):
        return ""
    values = {name: value for name, value in there["metrics"].items() if name == metric}
    of = f", {describe(values)}," if values else ""
    return f"; best_model is another{of} of epoch {there['epoch']} of before"


def _early_stopping(config: Config) -> EarlyStopping:
    options, main = config.Global.early_stopping, config.Metric.Eval[0]
    metric = options.metric or main.main
    own = next((each for each in config.Metric.Eval if each.main == metric), main)
    higher = own.higher_is_better and not metric.lower().endswith("loss")
    return EarlyStopping(options.patience, metric, higher_is_better=higher, min_delta=options.min_delta)


def _curves(config: Config) -> list[Hook]:
    """What writes curves; that it can is known before anything takes its time.

    Raises:
        MissingDependencyError: what they are for is not installed.
    """
    if not distributed.is_main():
        return []
    folder, hooks = run_folder(config), []
    if config.Global.use_visualdl:
        hooks.append(scalars.visualdl(folder / "vdl"))
    if config.Global.use_tensorboard:
        hooks.append(scalars.tensorboard(folder / "tensorboard"))
    return hooks


def _hooks(config: Config, trainer: Trainer, record: recipe.Record, request: Request) -> list[Hook]:
    options = config.Global
    metrics = Metrics(config.Metric.Train) if config.Metric.Train else None
    messages = Messages(options.print_batch_step, metrics)
    hooks: list[Hook] = [messages, NanGuard(options.print_batch_step)]
    if distributed.world_size() > 1:
        hooks += [TakingPart(), SharedStatistics()]
    if trainer.average is not None:
        hooks.append(Averaging())
    hooks += [build() for build in mode_of(config).hooks]
    quantized = recipe.step_of(record, "quant")
    if quantized is not None:
        keep_in = run_folder(config) if distributed.is_main() else None
        hooks.append(Quantizers(QuantOptions.from_dict(quantized["options"]), keep_in))
    if options.eval_during_train:
        higher = config.Metric.Eval[0].higher_is_better
        evaluate = evaluator(config, deployed(trainer.model), checked=True)
        hooks.append(
            Evaluation(
                evaluate,
                options.eval_interval,
                main_metric(config),
                higher_is_better=higher,
                start=options.start_eval_epoch,
            )
        )
        if options.early_stopping is not None:
            hooks.append(_early_stopping(config))
    every = options.save_every
    checkpoints = Checkpoints(
        run_folder(config),
        record,
        options.save_interval,
        options.keep_last,
        every_steps=every and every.steps,
        every_minutes=every and every.minutes,
        metric=main_metric(config) if options.eval_during_train else "",
        higher_is_better=config.Metric.Eval[0].higher_is_better if options.eval_during_train else True,
        request=request,
        safetensors=options.save_format == "safetensors",
    )
    if not distributed.is_main():
        return [*hooks, checkpoints]
    # Before the checkpoint, where a run that is asked to stop ends: what is kept of epochs has all that it holds.
    hooks.append(History(run_folder(config), messages, main_metric(config) if options.eval_during_train else ""))
    hooks.append(checkpoints)
    return hooks if quantized is None else [*hooks, Distributions(run_folder(config))]

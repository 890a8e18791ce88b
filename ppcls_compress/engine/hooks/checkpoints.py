"""Checkpoints: `latest`, `best_model`, `epoch_N` between epochs, and `latest` within one."""

from __future__ import annotations

import operator
import time
from pathlib import Path

from ppcls_compress import io
from ppcls_compress.engine import checkpoint
from ppcls_compress.engine.distributed import any_of_them, is_main, wait_for_all
from ppcls_compress.engine.hooks.base import Batch, Hook
from ppcls_compress.engine.hooks.evaluation import describe
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.training import Training
from ppcls_compress.slim.recipe import Record
from ppcls_compress.stopping import Request


class Checkpoints(Hook):
    """Saves after each epoch; to be listed after the evaluation, whose result it needs.

    Args:
        folder: where the checkpoints go.
        record: the compression record of the model.
        interval: epochs between two `epoch_N`; none are saved where it is not positive.
        keep_last: how many of the last saves `latest` and the names behind it, `latest_1` and so on, hold.
        every_steps: optimizer steps between two saves within an epoch; None for no such limit.
        every_minutes: minutes between two saves within an epoch; None for no such limit.
        metric: whose value chooses `best_model`; "" where nothing is evaluated.
        higher_is_better: whether it is.
        safetensors: whether to write the weights and their record in that form too.
        request: when it is made, the step is finished, `latest` is saved, and the run stops.
    """

    def __init__(
        self,
        folder: Path,
        record: Record,
        interval: int,
        keep_last: int = 1,
        *,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        metric: str = "",
        higher_is_better: bool = True,
        request: Request | None = None,
        safetensors: bool = False,
    ) -> None:
        self._folder = folder
        self._record = record
        self._interval = interval
        self._keep_last = keep_last
        self._every_steps = every_steps
        self._every_minutes = every_minutes
        self._request = request or Request()
        self._safetensors = safetensors
        self._metric = metric
        self._better = operator.gt if higher_is_better else operator.lt
        self._kept: float | None = None

    def before_training(self, trainer: Training) -> None:
        """Remove what saves that were killed have left, and see whether a later epoch was better already."""
        self._saved_at(trainer)
        if is_main():
            io.sweep(self._folder)
            if trainer.progress.step:
                self._keep_best(trainer)

    def after_batch(self, trainer: Training, batch: Batch) -> None:
        """Save within an epoch when it is time to, or when the run is to stop.

        The last batch is left to `after_epoch`, and one that is not the last of an optimizer step to the next.
        """
        if trainer.progress.batch != batch.index + 1 or trainer.progress.batch == len(trainer.loader):
            return
        stop = any_of_them(self._request.number is not None)
        if stop or any_of_them(self._due(trainer)):
            self._save_latest(trainer)
        if stop:
            done = f"batch {trainer.progress.batch} of {len(trainer.loader)} of epoch {trainer.progress.epoch + 1}"
            self._stop(f"latest is saved after {done}")

    def after_epoch(self, trainer: Training) -> None:
        """Save what this epoch deserves; only the main process writes.

        `latest` comes last: what it tells of must be there, whenever the process is killed.
        """
        progress = trainer.progress
        names = []
        if self._interval > 0 and progress.epoch % self._interval == 0:
            names.append(f"epoch_{progress.epoch}")
        if progress.best_epoch == progress.epoch and not self._had_better(progress.best):
            names.append("best_model")
        if is_main():
            for name in names:
                self._save(self._folder / name, trainer)
        self._save_latest(trainer)
        if any_of_them(self._request.number is not None) and progress.epoch < trainer.epochs:
            self._stop(f"latest is saved after epoch {progress.epoch}")

    def _keep_best(self, trainer: Training) -> None:
        """Where the run once was further, or goes on from before its best: that must not be lost to a worse one."""
        prefix, progress = self._folder / "best_model", trainer.progress
        states = checkpoint.saved_states(prefix)
        if states is None or (progress.best is None and states["settings"] != trainer.settings):
            return  # it may be of a run before this one, whose first evaluation is still to come
        value = states["progress"]["metrics"].get(self._metric)
        if value is not None and (progress.best is None or self._better(value, progress.best)):
            self._kept = value
            logger.info(
                "%s, %s in epoch %d, is better than what this run goes on from: it stays until an epoch is as good",
                prefix,
                describe({self._metric: value}),
                states["progress"]["epoch"],
            )

    def _had_better(self, value: float | None) -> bool:
        return self._kept is not None and value is not None and self._better(self._kept, value)

    def _save_latest(self, trainer: Training) -> None:
        if is_main():
            checkpoint.keep_earlier(self._folder / "latest", self._keep_last - 1)
            self._save(self._folder / "latest", trainer)
        wait_for_all()
        self._saved_at(trainer)

    def _save(self, prefix: Path, trainer: Training) -> None:
        checkpoint.save(prefix, trainer, self._record, safetensors=self._safetensors)

    def _saved_at(self, trainer: Training) -> None:
        self._step, self._time = trainer.progress.step, time.monotonic()

    def _due(self, trainer: Training) -> bool:
        steps, minutes = trainer.progress.step - self._step, (time.monotonic() - self._time) / 60
        return (self._every_steps is not None and steps >= self._every_steps) or (
            self._every_minutes is not None and minutes >= self._every_minutes
        )

    def _stop(self, where: str) -> None:
        logger.info("stopping: %s", where)
        self._request.honour()
        raise KeyboardInterrupt  # another process was asked to

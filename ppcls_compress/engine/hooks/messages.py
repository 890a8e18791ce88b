"""Progress for the person who waits: a bar on a terminal, plain lines elsewhere and in `train.log`."""

from __future__ import annotations

import time
from datetime import timedelta

import paddle
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ppcls_compress.engine.distributed import add_up, is_main, world_size
from ppcls_compress.engine.evaluate import arrays_of
from ppcls_compress.engine.hooks.base import Batch, Hook
from ppcls_compress.engine.hooks.evaluation import describe
from ppcls_compress.engine.logs import console, logger
from ppcls_compress.engine.training import Training
from ppcls_compress.metrics import Metrics
from ppcls_compress.outputs import Output

# So many batches' outputs are kept at most until the metrics are computed.
_KEPT = 32


class Messages(Hook):
    """Loss, learning rate, images per second and the time left, every `every` batches and at the end of each epoch.

    Args:
        every: batches between two messages.
        metrics: of the training batches, this process' share, as means over groups of batches; left out where
            labels are mixed.
    """

    def __init__(self, every: int, metrics: Metrics | None = None) -> None:
        self._every = every
        self._metrics = metrics
        self._bar: Progress | None = None
        self._told: set[str] = set()

    def before_training(self, trainer: Training) -> None:
        """Start the clock, and the bar when there is a terminal."""
        self._started = time.perf_counter()
        self._total = (trainer.epochs - trainer.progress.epoch) * len(trainer.loader) - trainer.progress.batch
        self._batches = 0
        if console.is_terminal and is_main():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Progress(*columns, console=console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("training", total=self._total, note="")

    def before_epoch(self, trainer: Training) -> None:
        """Start the epoch's sums."""
        self._epoch_started = time.perf_counter()
        self._loss_sum = paddle.zeros([])
        self._term_sums: dict[str, paddle.Tensor] = {}
        self._images = 0
        self._seen_batches = 0
        self._measured: dict[str, float] = {}
        self._judged = 0
        self._unjudged: list[tuple[Output, paddle.Tensor]] = []

    def after_batch(self, trainer: Training, batch: Batch) -> None:
        """Add up; tell every few batches."""
        self._batches += 1
        self._seen_batches += 1
        self._images += batch.images.shape[0] * world_size()
        self._loss_sum += batch.loss.astype("float32")
        for name, term in batch.terms.items() if len(batch.terms) > 1 else ():
            self._term_sums[name] = self._term_sums.get(name, 0.0) + term.astype("float32")
        if self._metrics is not None and self._metrics.take(batch.labels):
            self._unjudged.append((batch.output, batch.labels))
            if len(self._unjudged) == _KEPT:
                self._judge()
        if (batch.index + 1) % self._every == 0:
            note = self._note(trainer)
            if self._bar:
                self._bar.update(self._task, completed=self._batches, note=note)
            else:
                logger.info(
                    "epoch %d/%d, batch %d/%d: %s",
                    trainer.progress.epoch + 1,
                    trainer.epochs,
                    batch.index + 1,
                    len(trainer.loader),
                    note,
                )

    def after_epoch(self, trainer: Training) -> None:
        """One line for the epoch, its losses those of all processes; one for each image that was skipped newly."""
        self._merge_losses()
        logger.info("epoch %d/%d: %s", trainer.progress.epoch, trainer.epochs, self._note(trainer))
        for path, reason in trainer.loader.bad_images.items():
            if path not in self._told:
                logger.warning("skipped: %s: %s", path, reason)
        self._told.update(trainer.loader.bad_images)

    def after_training(self, trainer: Training) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _merge_losses(self) -> None:
        sums = add_up({"": float(self._loss_sum), **{name: float(value) for name, value in self._term_sums.items()}})
        self._loss_sum, *terms = (paddle.to_tensor(value / world_size()) for value in sums.values())
        self._term_sums = dict(zip(list(sums)[1:], terms, strict=True))

    def _judge(self) -> None:
        """Compute the metrics of the batches since the last time; to read a tensor waits for the device."""
        if not self._unjudged:
            return
        count = sum(len(labels) for _, labels in self._unjudged)
        kept = [self._metrics.keep(arrays_of(output), labels.numpy()) for output, labels in self._unjudged]
        for name, value in self._metrics.measure(kept).items():
            self._measured[name] = self._measured.get(name, 0.0) + value * count
        self._judged += count
        self._unjudged.clear()

    def _note(self, trainer: Training) -> str:
        self._judge()
        now = time.perf_counter()
        rate = self._images / max(now - self._epoch_started, 1e-9)
        left = (now - self._started) / self._batches * (self._total - self._batches)
        loss = float(self._loss_sum) / self._seen_batches
        parts = ", ".join(f"{name} {float(value) / self._seen_batches:.4f}" for name, value in self._term_sums.items())
        eta = timedelta(seconds=round(left))
        measured = describe({name: value / self._judged for name, value in self._measured.items()})
        terms = f" ({parts})" if parts else ""
        told = f"loss {loss:.4f}{terms}, {measured}" if measured else f"loss {loss:.4f}{terms}"
        return f"{told}, lr {trainer.optimizer.get_lr():.3g}, {rate:.0f} images/s, {eta} left"

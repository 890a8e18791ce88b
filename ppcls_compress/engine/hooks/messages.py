"""Progress for the person who waits: a bar on a terminal, plain lines elsewhere and in `train.log`."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import timedelta

import paddle

from ppcls_compress.engine.distributed import add_up, world_size
from ppcls_compress.engine.evaluate import arrays_of
from ppcls_compress.engine.hooks.base import Batch, Hook
from ppcls_compress.engine.hooks.evaluation import describe
from ppcls_compress.engine.logs import logger, tell_event
from ppcls_compress.engine.progress import Step
from ppcls_compress.engine.training import Training
from ppcls_compress.metrics import Metrics
from ppcls_compress.outputs import Output

# So many batches' outputs are kept at most until the metrics are computed.
_KEPT = 32


@dataclass(frozen=True)
class Numbers:
    """Means over the epoch so far, and how fast it goes."""

    loss: float
    terms: dict[str, float]
    metrics: dict[str, float]
    lr: float
    images_per_second: float
    seconds_left: float


class Messages(Hook):
    """Loss, learning rate, images per second and the time left, every `every` batches and at the end of each epoch.

    Args:
        every: batches between two messages.
        metrics: of the training batches, this process' share, as means over groups of batches; left out where
            labels are mixed.

    Attributes:
        of_epoch: what the epoch that ended last came to; None before.
    """

    of_epoch: Numbers | None = None

    def __init__(self, every: int, metrics: Metrics | None = None) -> None:
        self._every = every
        self._metrics = metrics
        self._step: Step | None = None
        self._told: set[str] = set()

    def before_training(self, trainer: Training) -> None:
        """Start the clock, and what a terminal shows."""
        self._started = time.perf_counter()
        self._total = (trainer.epochs - trainer.progress.epoch) * len(trainer.loader) - trainer.progress.batch
        self._batches = 0
        self._step = Step("training", self._total).quiet()

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
        where = f"epoch {trainer.progress.epoch + 1}/{trainer.epochs}, batch {batch.index + 1}/{len(trainer.loader)}"
        due = (batch.index + 1) % self._every == 0
        found = self._numbers(trainer) if due or self._step.wants_note else None
        note = None if found is None else _note(found)
        self._step.advance(what=where, note=note)
        if due:
            if not self._step.is_shown:  # where the same stands already
                logger.info("%s: %s", where, note)
            tell_event("batch", epoch=trainer.progress.epoch + 1, batch=batch.index + 1, **asdict(found))

    def after_epoch(self, trainer: Training) -> None:
        """One line for the epoch, its losses those of all processes; one for each image that was skipped newly."""
        self._merge_losses()
        self.of_epoch = self._numbers(trainer)
        logger.info("epoch %d/%d: %s", trainer.progress.epoch, trainer.epochs, _note(self.of_epoch))
        tell_event("epoch", epoch=trainer.progress.epoch, **asdict(self.of_epoch))
        for path, reason in trainer.loader.bad_images.items():
            if path not in self._told:
                logger.warning("skipped: %s: %s", path, reason)
        self._told.update(trainer.loader.bad_images)

    def after_training(self, trainer: Training) -> None:
        """Take it away."""
        if self._step is not None:
            self._step.end()
            self._step = None

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

    def _numbers(self, trainer: Training) -> Numbers:
        self._judge()
        now = time.perf_counter()
        return Numbers(
            loss=float(self._loss_sum) / self._seen_batches,
            terms={name: float(value) / self._seen_batches for name, value in self._term_sums.items()},
            metrics={name: value / self._judged for name, value in self._measured.items()},
            lr=trainer.optimizer.get_lr(),
            images_per_second=self._images / max(now - self._epoch_started, 1e-9),
            seconds_left=(now - self._started) / self._batches * (self._total - self._batches),
        )


def _note(found: Numbers) -> str:
    parts = ", ".join(f"{name} {value:.4f}" for name, value in found.terms.items())
    measured = describe(found.metrics)
    told = f"loss {found.loss:.4f}{f' ({parts})' if parts else ''}{f', {measured}' if measured else ''}"
    eta = timedelta(seconds=round(found.seconds_left))
    speed = found.images_per_second
    return f"{told}, lr {found.lr:.3g}, {speed:.{0 if speed >= _FAST else 1}f} images/s, {eta} left"


_FAST = 10.0
"""Images in a second from which on a decimal tells nothing."""

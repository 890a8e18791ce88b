"""`-p "batch_range=[10,20];profile_path=..."`: Paddle's profiler over a range of batches."""

from __future__ import annotations

from paddle import profiler

from ppcls_compress.config.profiler import ProfilerOptions
from ppcls_compress.engine.hooks.base import Batch, Hook
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.training import Training


class Profiler(Hook):
    """Times the batches of the range, counted from the start of this run, and tells the summary."""

    def __init__(self, options: ProfilerOptions) -> None:
        self._options = options
        self._profiler: profiler.Profiler | None = None
        self._batches = 0

    def before_training(self, trainer: Training) -> None:
        """Get ready."""
        options = self._options
        self._profiler = profiler.Profiler(
            scheduler=options.batch_range,
            on_trace_ready=None if options.timer_only else profiler.export_chrome_tracing(options.profile_path),
            timer_only=options.timer_only,
        )
        self._profiler.start()

    def after_batch(self, trainer: Training, batch: Batch) -> None:
        """Count; tell the result at the end of the range."""
        if self._profiler is None:
            return
        self._batches += 1
        self._profiler.step(num_samples=batch.images.shape[0])
        if self._batches == self._options.batch_range[1]:
            logger.info("profiler: %s", self._profiler.step_info(unit="images"))
            self._finish()
            if self._options.exit_on_finished:
                raise SystemExit(0)

    def after_training(self, trainer: Training) -> None:
        """Stop, when the run was shorter than the range."""
        if self._profiler is not None:
            self._finish()

    def _finish(self) -> None:
        self._profiler.stop()
        if not self._options.timer_only:
            self._profiler.summary(sorted_by=profiler.SortedKeys[self._options.sorted_key], time_unit="ms")
            logger.info("profiler: the time line is in %s", self._options.profile_path)
        self._profiler = None

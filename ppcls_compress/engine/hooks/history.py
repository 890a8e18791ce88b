"""What became of each epoch, kept for the page that the run leaves."""

from __future__ import annotations

from pathlib import Path

from ppcls_compress import io
from ppcls_compress.engine.epoch_file import EpochFile
from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.hooks.messages import Messages
from ppcls_compress.engine.training import Training
from ppcls_compress.errors import UserError

FILE = "history.jsonl"
"""In a run's folder, a line of JSON for each epoch: `epoch, loss, metrics, lr, evaluation, main, best_epoch`."""

COMMANDS = "commands.txt"
"""In a run's folder: what was typed to make what is there, a line each."""


class History(Hook):
    """Keeps loss, metrics and learning rate of every epoch; it stands behind the evaluation.

    `metrics` are those of the training batches, `evaluation` those of the validation images, empty where there was no
    evaluation after this epoch.

    Args:
        folder: where `FILE` is kept.
        messages: that have added them up.
        main: the value of an evaluation that chooses the best epoch.
    """

    def __init__(self, folder: Path, messages: Messages, main: str) -> None:
        self._file, self._messages, self._main = EpochFile(folder / FILE), messages, main
        self._seen: dict[str, float] = {}

    def before_training(self, trainer: Training) -> None:
        """Go on with the file of a run that is resumed."""
        self._file.go_on(trainer.progress.epoch)
        self._seen = trainer.progress.metrics

    def after_epoch(self, trainer: Training) -> None:
        """A line more."""
        found, progress = self._messages.of_epoch, trainer.progress
        evaluation = {} if progress.metrics is self._seen else dict(progress.metrics)
        self._seen = progress.metrics
        chosen = {"main": self._main, "best_epoch": progress.best_epoch}
        trained = {"loss": found.loss, "metrics": found.metrics, "lr": found.lr}
        self._file.keep(progress.epoch, **trained, evaluation=evaluation, **chosen)


class Command(Hook):
    """Keeps what was typed once a run begins; one that is refused before that has made nothing."""

    def __init__(self, folder: Path, command: str) -> None:
        self._folder, self._command = folder, command

    def before_training(self, trainer: Training) -> None:
        """A line more."""
        keep_command(self._folder, self._command)


def keep_command(folder: Path, command: str) -> None:
    """Add what was typed to what a run keeps, for the pages about it.

    Raises:
        UserError: it cannot be written.
    """
    file = io.make_folder(folder) / COMMANDS
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(f"{command}\n")
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from error

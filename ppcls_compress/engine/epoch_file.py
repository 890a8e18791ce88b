"""A file that a run keeps, with a line of JSON for each epoch; a resumed run goes on with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ppcls_compress import io
from ppcls_compress.text import read_text


class EpochFile:
    """Lines `{"epoch": 1, ...}` of JSON; the file is whole after every epoch.

    Args:
        path: of the file; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lines: list[str] = []

    def go_on(self, epoch: int) -> None:
        """Take over what an earlier run has kept of the epochs that are completed."""
        if self.path is not None and epoch and self.path.is_file():
            lines = read_text(self.path).splitlines()
            self._lines = [line for line in lines if _epoch_of(line) <= epoch]

    def keep(self, epoch: int, **content: Any) -> None:
        """Add a line.

        Raises:
            UserError: the file cannot be written.
        """
        if self.path is None:
            return
        self._lines.append(json.dumps({"epoch": epoch, **content}, ensure_ascii=False))
        with io.atomic(self.path) as partial:
            partial.write_text("".join(f"{line}\n" for line in self._lines), encoding="utf-8")


def _epoch_of(line: str) -> float:
    """Of a line of the file; never for a line that is none."""
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError):
        return float("inf")

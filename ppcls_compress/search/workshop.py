"""The folder of a search, and how its jobs are done, by whichever process takes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppcls_compress import io
from ppcls_compress.config.schema import Config
from ppcls_compress.deploy import fresh
from ppcls_compress.errors import ConfigError, UserError, one_line
from ppcls_compress.search import trial
from ppcls_compress.search.board import Board, Job

_MODULE = "ppcls_compress.search.trial"
_LONGEST = 7 * 24 * 3600.0
"""Seconds of one training: what takes longer hangs."""


@dataclass(frozen=True)
class Workshop:
    """Where a search happens.

    Attributes:
        folder: of everything that it keeps.
        base: the user's configuration with overrides, as a plain dictionary.
        config: the same, validated.
        profile: of another machine, whose latencies count; None times files here.
    """

    folder: Path
    base: Mapping[str, Any]
    config: Config
    profile: Path | None = None

    @property
    def contract(self) -> Path:
        """The configuration, as the trials read it."""
        return self.folder / "contract.yaml"

    @property
    def dense(self) -> Path:
        """Of the dense network's artifact and answers."""
        return self.folder / "dense"

    @property
    def dense_artifact(self) -> Path:
        """The dense network's artifact."""
        from ppcls_compress.deploy import formats

        return self.dense / "artifact" / formats.get(self.config.Slim.auto.place[0]).folder

    def place_of(self, name: str) -> Path:
        """The folder of a job."""
        return self.folder / "trials" / name

    def board(self) -> Board:
        """The study of this contract and these weights.

        Raises:
            UserError: there is no such storage, or the search was never begun.
        """
        identity = io.read_json(self.folder / "identity.json")
        storage = self.config.Slim.auto.storage or f"sqlite:///{self.folder.resolve() / 'study.db'}"
        return Board(storage, identity["study"])

    def identify(self, identity: Mapping[str, Any]) -> None:
        """Begin a search, or go on with the same.

        Raises:
            ConfigError: the folder holds another one.
        """
        file = self.folder / "identity.json"
        if file.exists() and (found := io.read_json(file)) != dict(identity):
            changed = [key for key in identity if found.get(key) != identity[key]]
            raise ConfigError(
                f"{self.folder}: holds a search with other {' and '.join(changed)}; set another Global.output_dir, or "
                "remove that folder"
            )
        if not file.exists():
            trial.write_yaml(self.contract, self.base)
            io.write_json(file, dict(identity))

    def do(self, board: Board, job: Job) -> None:
        """Carry a job out in a process of its own, and tell the board what came of it.

        A candidate that cannot be trained or exported is a result too.
        """
        folder, what = self.place_of(job.name), job.what
        if "impossible" in what:
            board.finish(job, {"failed": what["impossible"]})
            return
        name, runtime = self.config.Slim.auto.place
        epochs, rate = what["epochs"], what["rate"]
        found = trial.recipe(self.base, what["slim"], folder, epochs=epochs, rate=rate)
        about = {"contract": str(self.contract), "dense": str(self.dense_artifact), "answers": str(self.dense)}
        about |= {"format": name, "runtime": runtime, "timed": self.timed}
        about["profile"] = str(self.profile) if self.profile else None
        threads = int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0))))
        with board.alive(job):
            if not (folder / trial.ROW).exists():
                trial.prepare(folder, found, about)
                try:
                    fresh.run_module(_MODULE, folder, threads=threads, timeout=_LONGEST)
                except UserError as error:
                    failed = one_line(error, 300).removeprefix(f"{_MODULE}: ")
                    io.write_json(folder / trial.ROW, {"failed": failed})
            result = io.read_json(folder / trial.ROW)
        board.finish(job, result)

    @property
    def timed(self) -> bool:
        """Whether files are timed: only where latency is what counts."""
        return self.config.Slim.auto.cost == "latency" and self.profile is None

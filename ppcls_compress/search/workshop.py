"""The folder of a search, and how its jobs are done, by whichever process takes them."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppcls_compress import io
from ppcls_compress.config.schema import Config
from ppcls_compress.deploy import fresh
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import ConfigError, UserError, one_line
from ppcls_compress.passwords import without_secrets
from ppcls_compress.search import trial
from ppcls_compress.search.board import PASSING, Board, Job
from ppcls_compress.search.rows import TRIALS

LOCK = "lock"
"""The file that keeps a second process from leading the same search."""
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

    def place_of(self, folder: str) -> Path:
        """The folder of a job or row that calls it so."""
        return self.folder / TRIALS / folder

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
            changed = [
                key for key in identity if key != "study" and found.get(key) != identity[key]
            ]  # made of the rest
            raise ConfigError(
                f"{self.folder}: holds a search with other {' and '.join(changed)}; set another Global.output_dir, or "
                "remove that folder"
            )
        if not file.exists():
            self.write_contract()
            io.write_json(file, dict(identity))

    def write_contract(self) -> None:
        """Write the configuration that trainings are given, as it is now: `max_drop` may be another than at first."""
        trial.write_yaml(self.contract, _shareable(self.base))

    def check_still(self, study: str) -> None:
        """Refuse to go on with a search that gave way to another one.

        Args:
            study: of the search.

        Raises:
            ConfigError: it did.
        """
        file = self.folder / "identity.json"
        if not file.exists() or io.read_json(file)["study"] != study:
            raise ConfigError(f"{self.folder}: the search that was helped here has given way to another one")

    def give_way(self, identity: Mapping[str, Any]) -> None:
        """Empty the folder of another search that was refused, or stopped, before any candidate was trained.

        Whoever loosens a contract as a refusal advises, or mends what was misspelt, need not clear up after it; for the
        process that leads a search.
        """
        file = self.folder / "identity.json"
        if not file.exists() or (self.folder / TRIALS).exists() or io.read_json(file) == dict(identity):
            return
        logger.info("%s: the search before this one trained nothing and gives way", self.folder)
        for entry in [entry for entry in self.folder.iterdir() if entry.name != LOCK]:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def do(self, board: Board, job: Job) -> bool:
        """Carry a job out in a process of its own, and tell the board what came of it.

        A candidate that cannot be trained or exported is a result too. Where the job was taken over meanwhile, by
        somebody who thought this process dead, there is none.

        Returns:
            Whether it was told.
        """
        if "impossible" in job.what:
            return board.finish(job, {"failed": job.what["impossible"]})
        with board.alive(job) as lost:
            try:
                result = self._carried_out(job, lost)
            except fresh.StoppedError:
                result = None
        if result is not None and board.finish(job, result):
            return True
        logger.warning(
            "%s: taken over by another worker while this one was silent; what it did here is dropped", job.name
        )
        return False

    def _carried_out(self, job: Job, lost: threading.Event) -> Mapping[str, Any]:
        """The row of a job, which is trained unless that was done."""
        folder, what = self.place_of(job.folder), job.what
        if not (folder / trial.ROW).exists():
            found = trial.recipe(self.base, what["slim"], folder, epochs=what["epochs"], rate=what["rate"])
            name, runtime = self.config.Slim.auto.place
            about = {"contract": str(self.contract), "dense": str(self.dense_artifact), "answers": str(self.dense)}
            about |= {"format": name, "runtime": runtime, "timed": self.timed}
            about["profile"] = str(self.profile) if self.profile else None
            threads = int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0))))
            try:
                trial.prepare(folder, found, about)
                fresh.run_module(_MODULE, folder, threads=threads, timeout=_LONGEST, unwanted=lost)
            except fresh.StoppedError:
                raise
            except UserError as error:  # what would fail again is in the row
                told = one_line(error, 300).removeprefix(f"{_MODULE}: ").removeprefix("failed: ")
                return {"failed": told, PASSING: True}
        return io.read_json(folder / trial.ROW)

    @property
    def timed(self) -> bool:
        """Whether files are timed: only where latency is what counts."""
        return self.config.Slim.auto.cost == "latency" and self.profile is None


def _shareable(base: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as it may lie in a file."""
    auto = dict(base["Slim"]["auto"])
    if auto.get("storage"):
        auto["storage"] = without_secrets(auto["storage"])
    return {**base, "Slim": {**base["Slim"], "auto": auto}}

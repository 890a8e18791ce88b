"""How long exported models take, side by side in one run: each in a fresh process of its own, taking turns."""

from __future__ import annotations

import json
import select
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ppcls_compress import machine
from ppcls_compress.deploy import fresh
from ppcls_compress.deploy.artifact import load
from ppcls_compress.engine.progress import track
from ppcls_compress.errors import UserError

TURN = 3
"""Timed runs of one model before the next one's turn."""
_TIME_LIMIT = 1800.0
_WORKER = "ppcls_compress.deploy.measure.latency_worker"


@dataclass(frozen=True)
class Candidate:
    """A model to be timed.

    Attributes:
        directory: the artifact's folder.
        reduced: let OpenVINO compute what is not in integers in the precision that it chooses, not in float32.
        runtime: of the artifact's format; None for the format's own.
    """

    directory: str | Path
    reduced: bool = False
    runtime: str | None = None


@dataclass(frozen=True)
class Latency:
    """What one batch takes, input and output copied.

    Attributes:
        median_ms: milliseconds.
        p90_ms: what 90% of the runs stay below.
        images_per_second: over all timed runs.
        peak_bytes: the largest resident size of the process, Python and runtime included.
    """

    median_ms: float
    p90_ms: float
    images_per_second: float
    peak_bytes: int


def measure(
    candidates: Mapping[str, str | Path | Candidate],
    shape: Sequence[int],
    *,
    threads: int = 1,
    rounds: int = 50,
    processes: int = 3,
) -> dict[str, Latency]:
    """Time exported models on random images.

    Each is loaded and warmed up in a fresh process on the first cores that this one may use. Then they take turns, so
    that what else the machine does falls on all alike; the first run of a turn is not counted. All of that is done in
    a few processes.

    Args:
        candidates: folders of artifacts by name.
        shape: [N, C, H, W] of a batch.
        threads: for the arithmetic; each gets a core of its own.
        rounds: how often each is timed, rounded up to whole turns of 3 in each process.
        processes: for each, one after the other; no more than there are turns. The one in the middle counts, because
            where the memory of a process happens to lie makes some slower by a fifth, for as long as they run.

    Raises:
        UserError: an artifact does not run, there are fewer cores than threads, or nothing is to be timed.
    """
    wanted = {name: item if isinstance(item, Candidate) else Candidate(item) for name, item in candidates.items()}
    available = machine.cores()
    if threads > len(available):
        raise UserError(f"{threads} threads: this process may use only {len(available)} cores")
    for what, number in (("threads", threads), ("rounds", rounds), ("batch", shape[0])):
        if number < 1:
            raise UserError(f"{what}: at least 1 is needed, found {number}")
    turns = -(-rounds // TURN)
    processes = min(processes, turns)
    found = [_in_turns(wanted, shape, available[:threads], -(-turns // processes)) for _ in range(processes)]
    loads = [statistics.geometric_mean(one.median_ms for one in each.values()) for each in found]
    usual = statistics.median(loads)
    return {name: _middle([each[name] for each in found], [load / usual for load in loads]) for name in wanted}


def _in_turns(
    wanted: Mapping[str, Candidate], shape: Sequence[int], cores: Sequence[int], turns: int
) -> dict[str, Latency]:
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_Worker(name, item, shape, cores)) for name, item in wanted.items()}
        for worker in track(workers.values(), "loading what is timed"):
            worker.answer()
        names = list(workers)
        for turn in track(range(turns), "timing"):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                workers[name].take_turn()
        return {name: worker.latency(shape[0]) for name, worker in workers.items()}


def _middle(found: Sequence[Latency], loads: Sequence[float]) -> Latency:
    """The median of each number, of what one model takes when the machine is as busy as it usually is.

    Args:
        found: of one process each.
        loads: how much longer all models together took then; so that of two models the median of their ratios counts.
    """

    def median(key: str) -> float:
        return statistics.median(getattr(one, key) / load for one, load in zip(found, loads, strict=True))

    rate = statistics.median(one.images_per_second * load for one, load in zip(found, loads, strict=True))
    return Latency(median("median_ms"), median("p90_ms"), rate, max(one.peak_bytes for one in found))


class _Worker:
    """A process that holds one model and times it when told."""

    def __init__(self, name: str, candidate: Candidate, shape: Sequence[int], cores: Sequence[int]) -> None:
        request = {
            "directory": str(load(candidate.directory).directory.resolve()),
            "reduced": candidate.reduced,
            "runtime": candidate.runtime,
            "shape": list(shape),
            "cores": list(cores),
        }
        self._name, self._times, self._peak = name, [], 0
        self._errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            fresh.command(_WORKER, json.dumps(request)),
            env=fresh.environment(threads=len(cores)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def answer(self) -> Any:
        """The next line that the process writes, as JSON."""
        ready, _, _ = select.select([self._process.stdout], [], [], _TIME_LIMIT)
        if not ready:
            raise UserError(f"{self._name}: stopped, because it took longer than {_TIME_LIMIT:.0f} seconds")
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._errors.seek(0)
            raise UserError(f"{self._name}: {fresh.failure(code, self._errors.read())}")
        return json.loads(line)

    def take_turn(self) -> None:
        """Let it run some times while the others wait."""
        with suppress(BrokenPipeError):  # it ended, and `answer` tells why
            self._process.stdin.write(f"{TURN}\n")
            self._process.stdin.flush()
        times, self._peak = self.answer()
        self._times += times

    def latency(self, batch: int) -> Latency:
        """What was measured so far."""
        taken = np.asarray(self._times)
        rate = 1000 * batch * len(taken) / taken.sum()
        return Latency(float(np.median(taken)), float(np.quantile(taken, 0.9)), float(rate), self._peak)

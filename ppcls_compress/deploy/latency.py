"""How long exported models take, side by side in one run, in a process of their own.

`python -m ppcls_compress.deploy.latency REQUEST.json ANSWER.json` is that process.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_compress import io
from ppcls_compress.deploy import fresh
from ppcls_compress.deploy.artifact import load
from ppcls_compress.deploy.predictor import Predictor

WARM_UP = 5


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one batch, input and output copied: the median and what 90% of the rounds stay below."""

    median_ms: float
    p90_ms: float


def measure(
    artifacts: Mapping[str, str | Path], shape: Sequence[int], *, threads: int = 1, rounds: int = 50
) -> dict[str, Latency]:
    """Time exported models on random images.

    All of them are loaded first, and take turns in every round, so that what else the machine does falls on all alike.

    Args:
        artifacts: folders by name.
        shape: [N, C, H, W] of a batch.
        threads: for the arithmetic.
        rounds: how often each is timed, after 5 that are not counted.

    Raises:
        UserError: an artifact does not run.
    """
    request = {
        "artifacts": {name: str(load(directory).directory.resolve()) for name, directory in artifacts.items()},
        "shape": list(shape),
        "threads": threads,
        "rounds": rounds,
    }
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder, "request.json"), Path(folder, "answer.json")
        io.write_json(question, request)
        fresh.run_module(__name__, question, answer, threads=threads)
        times = io.read_json(answer)
    return {name: Latency(float(np.median(taken)), float(np.quantile(taken, 0.9))) for name, taken in times.items()}


def _times(request: Mapping[str, Any]) -> dict[str, list[float]]:
    """Milliseconds of every round, by name."""
    predictors = {
        name: Predictor(directory, threads=request["threads"]) for name, directory in request["artifacts"].items()
    }
    images = np.random.default_rng(0).standard_normal(request["shape"], np.float32)
    times: dict[str, list[float]] = {name: [] for name in predictors}
    names = list(predictors)
    gc.disable()
    for turn in range(WARM_UP + request["rounds"]):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            predictors[name].run(images)
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: taken[WARM_UP:] for name, taken in times.items()}


if __name__ == "__main__":
    io.write_json(sys.argv[2], _times(io.read_json(sys.argv[1])))

"""Many cases in one child process, watched: crashes, hangs, tracebacks and memory, each with its case.

The child is a fork of this process, so nothing is imported again. It tells over a pipe which case begins and how it
ended; where it dies, or is silent for longer than is allowed, the case is noted and another child goes on after it.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT), str(ROOT / "tests")]

from common import append, machine, read_results, reset_peak_memory, resident_memory

from ppcls_compress.errors import UserError

RESULTS = ROOT / "benchmarks" / "results" / "faults"
Case = Callable[[int], str]
"""A case by its number: what came of it, in a word; a `UserError` counts as `refused`."""


def drawn(name: str, number: int) -> random.Random:
    """The generator of a case, the same on every machine."""
    return random.Random(f"{name} {number}")


def outcome(case: Case, number: int) -> dict[str, Any]:
    """What a case comes to: a word, and for what must not be the details."""
    started = time.perf_counter()
    reset_peak_memory()
    before = resident_memory()
    found: dict[str, Any] = {}
    try:
        found["came"] = case(number)
    except UserError as error:
        found["came"] = "refused"
        lines = str(error).splitlines() or [""]
        if max(map(len, lines)) > 1200 or "Traceback" in str(error):
            found |= {"came": "long message", "detail": str(error)[:300]}
    except BaseException as error:  # whatever it is, that is what is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        found |= {"came": "traceback", "detail": f"{type(error).__name__} in {place}: {str(error)[:200]}"}
    found["seconds"] = round(time.perf_counter() - started, 3)
    found["mib"] = round((resident_memory(peak=True) - before) / 2**20)
    return found


def watched(case: Case, numbers: range, *, patience: float = 10.0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each number with what its case came to; `crash` and `hang` where the child did not say.

    Args:
        patience: seconds of silence after which a case hangs.
    """
    left = list(numbers)
    while left:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _work(case, left, writer)
        os.close(writer)
        done = 0
        with os.fdopen(reader, "rb") as pipe:
            for text in _lines(pipe, patience):
                yield left[done], json.loads(text)
                done += 1
        status = _ended(child)
        if done < len(left):
            what = "hang" if status is None else "crash"
            yield left[done], {"came": what, "detail": "" if status is None else f"exit status {status}"}
            done += 1
        left = left[done:]


def _work(case: Case, numbers: list[int], writer: int) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    for number in numbers:
        os.write(writer, (json.dumps(outcome(case, number)) + "\n").encode())
    os._exit(0)


def _lines(pipe: Any, patience: float) -> Iterator[bytes]:
    rest = b""
    while select.select([pipe], [], [], patience)[0]:
        data = os.read(pipe.fileno(), 1 << 16)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from lines


def _ended(child: int) -> int | None:
    """How a child ended by itself; None if it had to be killed."""
    for _ in range(20):
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


GOOD = ("refused", "accepted", "the same")


def in_blocks(name: str, case: Case, total: int, *, block: int = 250) -> None:
    """Run cases 0 .. total - 1, a line of `results/faults/<name>.jsonl` for each block; blocks that are there stay."""
    path = RESULTS / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    done = read_results(path)
    for start in range(0, total, block):
        cell = f"{name}/{start:05}"
        if cell in done:
            continue
        numbers = range(start, min(start + block, total))
        row = summary(dict(watched(case, numbers)))
        append(path, {"cell": cell, **row, "machine": machine(), "date": time.strftime("%Y-%m-%d")})
        print(cell, {key: value for key, value in row.items() if key != "bad"}, *row["bad"][:5], sep="\n  ", flush=True)


def summary(found: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """How often each thing came, the slowest, the largest, and every case that must not be."""
    counts: dict[str, int] = {}
    for result in found.values():
        counts[result["came"]] = counts.get(result["came"], 0) + 1
    return {
        "cases": len(found),
        "counts": counts,
        "slowest_s": max(result.get("seconds", 0.0) for result in found.values()),
        "memory_mib": max(result.get("mib", 0) for result in found.values()),
        "bad": [{"case": n, **result} for n, result in found.items() if result["came"] not in GOOD],
    }

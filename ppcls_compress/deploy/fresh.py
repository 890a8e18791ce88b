"""Running a module of this package in a process of its own, which shares no state with the one that trained."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ppcls_compress.errors import UserError

_LOOK = 1.0
_ROOT = Path(__file__).resolve().parents[2]
_CHILD = "ppcls_compress.deploy.child"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MARK = re.compile(r"^(ppcls_compress|__main__)[\w.]*Error: |^.*\[ERROR\]\s*")


class StoppedError(UserError):
    """A process that was stopped because nobody wants what it does any more."""


def run_module(
    module: str,
    *arguments: str | Path,
    threads: int = 1,
    timeout: float = 1800,
    folder: str | Path = "",
    unwanted: threading.Event | None = None,
) -> None:
    """Run `python -m module arguments` and wait for it; it ends with this process.

    Args:
        module: full name of a module of this package.
        arguments: its command line.
        threads: for the arithmetic libraries.
        timeout: seconds after which it is stopped.
        folder: a temporary one, which it removes if this process is killed.
        unwanted: it is stopped within a second when this is set.

    Raises:
        StoppedError: `unwanted` was set.
        UserError: it failed, crashed or took too long; the message ends with the last line it wrote.
    """
    words = command(_CHILD, str(folder), module, *map(str, arguments))
    try:
        done = _finish(words, environment(threads), timeout, unwanted)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{module}: stopped, because it took longer than {timeout:.0f} seconds") from error
    if done.returncode:
        raise UserError(f"{module}: {failure(done.returncode, done.stderr, done.stdout)}")


def _finish(
    words: Sequence[str], variables: Mapping[str, str], timeout: float, unwanted: threading.Event | None
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run`, but what is stopped ends with all that it started."""
    with _held_open() as held:
        streams = {"stdin": held, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(words, env=variables, **streams, text=True, process_group=0) as process:
            try:
                output, errors = _ended(process, timeout, unwanted)
            except BaseException:
                with suppress(ProcessLookupError):  # it ended just now, and so did all that it started
                    os.killpg(process.pid, signal.SIGKILL)
                raise
    return subprocess.CompletedProcess(words, process.returncode, output, errors)


def _ended(process: subprocess.Popen[str], timeout: float, unwanted: threading.Event | None) -> tuple[str, str]:
    """What a process wrote until it ended by itself."""
    if unwanted is None:
        return process.communicate(timeout=timeout)
    last = time.monotonic() + timeout
    while True:
        try:
            return process.communicate(timeout=_LOOK)
        except subprocess.TimeoutExpired:
            if unwanted.is_set():
                raise StoppedError("stopped: its result is not wanted any more") from None
            if time.monotonic() > last:
                raise subprocess.TimeoutExpired(process.args, timeout) from None


@contextmanager
def _held_open() -> Iterator[int]:
    """The reading end of a pipe into which nothing is written; its end is seen when this process is gone."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)


def command(module: str, *arguments: str) -> list[str]:
    """The command line of a module of this package."""
    # Without -P the folder that the user stands in would come first, and a package of this name in it.
    return [sys.executable, "-P", "-W", "ignore", "-m", module, *arguments]


def environment(threads: int) -> dict[str, str]:
    """This process's environment, for a module of this package with some threads for the arithmetic libraries."""
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    # Threads of Intel's OpenMP spin for 200 ms after their work, on cores that another process may need by then.
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "KMP_BLOCKTIME": "1"}


def failure(code: int, errors: str, output: str = "") -> str:
    """How a process ended that failed: by which signal or exit, and the line that tells most of why.

    It is the last one on standard error, but for what Paddle adds in brackets; where there is none, the last on
    standard output that is marked as an error.
    """
    told = [line for line in _lines(output) if "[ERROR]" in line] or _lines(output)
    lines = _lines(errors) or told or ["it wrote nothing"]
    names = {item.value: item.name for item in signal.Signals}
    ending = f"crashed with {names.get(-code, f'signal {-code}')}" if code < 0 else "failed"
    telling = [line for line in lines if not line.startswith(("[Hint: ", "[operator "))] or lines
    return f"{ending}: {_MARK.sub('', telling[-1])}"


def _lines(text: str) -> list[str]:
    return [line.strip() for line in _COLOUR.sub("", text).splitlines() if line.strip()]

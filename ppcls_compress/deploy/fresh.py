"""Running a module of this package in a process of its own, which shares no state with the one that trained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from ppcls_compress.errors import UserError

_ROOT = Path(__file__).resolve().parents[2]


def run_module(module: str, *arguments: str | Path, threads: int = 1, timeout: float = 1800) -> None:
    """Run `python -m module arguments` and wait for it.

    Args:
        module: full name of a module of this package.
        arguments: its command line.
        threads: for the arithmetic libraries.
        timeout: seconds after which it is stopped.

    Raises:
        UserError: it failed, crashed or took too long; the message ends with the last line it wrote.
    """
    command = [sys.executable, "-W", "ignore", "-m", module, *map(str, arguments)]
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{module}: stopped, because it took longer than {timeout:.0f} seconds") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        last = lines[-1].removeprefix("ppcls_compress.errors.UserError: ") if lines else "it wrote nothing"
        raise UserError(f"{module}: {_ending(done.returncode)}: {last}")


def _ending(code: int) -> str:
    return f"crashed with {signal.Signals(-code).name}" if code < 0 else "failed"

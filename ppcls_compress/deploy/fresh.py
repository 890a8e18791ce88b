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
    try:
        done = subprocess.run(
            command(module, *map(str, arguments)),
            env=environment(threads),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{module}: stopped, because it took longer than {timeout:.0f} seconds") from error
    if done.returncode:
        raise UserError(f"{module}: {failure(done.returncode, done.stderr)}")


def command(module: str, *arguments: str) -> list[str]:
    """The command line of a module of this package."""
    # Without -P the folder that the user stands in would come first, and a package of this name in it.
    return [sys.executable, "-P", "-W", "ignore", "-m", module, *arguments]


def environment(threads: int) -> dict[str, str]:
    """This process's environment, for a module of this package with some threads for the arithmetic libraries."""
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    # Threads of Intel's OpenMP spin for 200 ms after their work, on cores that another process may need by then.
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "KMP_BLOCKTIME": "1"}


def failure(code: int, errors: str) -> str:
    """How a process ended that failed: by which signal or exit, and the last line that it wrote to standard error."""
    lines = [line for line in errors.splitlines() if line.strip()]
    last = lines[-1].removeprefix("ppcls_compress.errors.UserError: ") if lines else "it wrote nothing"
    ending = f"crashed with {signal.Signals(-code).name}" if code < 0 else "failed"
    return f"{ending}: {last}"

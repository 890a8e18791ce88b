"""Commands in forked processes that may be killed, and what they leave behind."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import paddle  # noqa: F401  before the forks, so that none of them waits for it

from ppcls_compress import io
from ppcls_compress.cli import main

DENSE: tuple[str, ...] = ()
PRUNED = ("Slim.prune={name: fpgm, pruned_ratio: 0.3}",)
QAT = (*PRUNED, "Slim.quant={name: pact}")
KINDS = {"dense": DENSE, "pruned": PRUNED, "qat": QAT}


def started(command: str, config: Path, *overrides: str, log: Path | None = None) -> int:
    """The process in which a command runs, a fork of this one; overrides that begin with `--` are arguments."""
    child = os.fork()
    if child:
        return child
    target = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)
    words = [part for text in overrides for part in ((text,) if text.startswith("--") else ("-o", text))]
    code = 70
    try:
        code = main([command, "-c", str(config), *words])
    except BaseException:  # what is above in this process is for its parent alone
        traceback.print_exc()
    finally:
        os._exit(code)


def finished(child: int) -> int:
    """The exit code of a process, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(command: str, config: Path, *overrides: str, log: Path | None = None) -> None:
    """Run a command to its end, which must be a good one."""
    code = finished(started(command, config, *overrides, log=log))
    if code:
        raise SystemExit(f"{command} {' '.join(overrides)} ended with {code}" + (f"; see {log}" if log else ""))


def killed(child: int, after: float) -> bool:
    """Kill a process after so many seconds; whether it was still running."""
    until = time.monotonic() + after
    while time.monotonic() < until:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(min(0.002, max(until - time.monotonic(), 0)))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def leftovers(folder: Path) -> list[str]:
    """Files that begin with a dot, as temporary ones do."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))


def same_states(first: Path, second: Path, endings: Sequence[str]) -> list[str]:
    """The files, of those that two checkpoints have under these endings, that differ in what they hold."""
    return [ending for ending in endings if _held(Path(f"{first}{ending}")) != _held(Path(f"{second}{ending}"))]


def _held(path: Path) -> object:
    if path.suffix == ".json":
        return io.read_json(path)
    return _plain(io.read_state(path))


def _plain(value: object) -> object:
    if hasattr(value, "tobytes") and hasattr(value, "shape"):
        return (str(value.dtype), value.shape, value.tobytes())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in sorted(value.items())}
    return repr(value)


def timed(action: Callable[[], object]) -> float:
    """Seconds that something takes."""
    start = time.monotonic()
    action()
    return time.monotonic() - start

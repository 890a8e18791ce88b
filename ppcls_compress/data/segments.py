"""What data workers leave when a process is killed: themselves, and shared memory in which they hand over batches.

Paddle names a segment after the worker that writes it, `/dev/shm/paddle_<process>_...`, and whoever reads it removes
it. A worker of Paddle's that waits for work does not see that the process is gone that gives it. Only segments of the
run's own workers are touched: a process of another container may have the same number as one that is dead here.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

_FOLDER = Path("/dev/shm")
_LOOK_EVERY = 0.5
"""Seconds."""


def remove_of(workers: Iterable[int]) -> None:
    """Remove what is left of workers that have ended, by the numbers of their processes; what is mapped stays so."""
    for worker in workers:
        for path in _FOLDER.glob(f"paddle_{worker}_*"):
            with contextlib.suppress(OSError):  # gone by now, or another user's
                if path.stat().st_uid == os.geteuid():
                    path.unlink()


def end_with_parent() -> None:
    """Called in a worker: it ends when the process that reads from it is killed, and so do its segments."""
    reader = multiprocessing.parent_process().pid  # as it was before the fork: it may be gone by now
    threading.Thread(target=_watch, args=(reader, os.getpid()), daemon=True).start()


def _watch(parent: int, worker: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY)
    if os.fork():
        os._exit(1)
    while os.getppid() == worker:  # another thread of it may be writing until it ends
        time.sleep(0.01)
    remove_of([worker])
    os._exit(0)

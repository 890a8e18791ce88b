"""Processes that a test started, and what they do some time."""

import time

PATIENCE = 300
"""Seconds; only a test that fails waits so long, on however busy a machine."""


def runs(stat):
    """Whether the process of a /proc/PID/stat still runs; one that nobody waited for does not."""
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def happens(condition):
    """Whether something becomes true, however long other processes take."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return bool(found)

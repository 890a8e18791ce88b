"""Processes that a test started."""


def runs(stat):
    """Whether the process of a /proc/PID/stat still runs; one that nobody waited for does not."""
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False

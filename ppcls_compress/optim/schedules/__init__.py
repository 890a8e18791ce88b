"""Learning-rate schedules under PaddleClas' names; a file for each kind.

A new schedule: a class with its options and `decay`, decorated with `@SCHEDULES.declare`, in the file of its kind; a
new file, and its line in the first import here.
"""

from ppcls_compress.optim.schedules import (  # noqa: F401  they declare
    cycles,
    decays,
)
from ppcls_compress.optim.schedules.base import SCHEDULES, Run, ScheduleOptions, Watcher

__all__ = ["SCHEDULES", "Run", "ScheduleOptions", "Watcher"]

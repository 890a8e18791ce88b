"""Failures of a training that may pass: they say nothing of the candidate, and the same search tries it again."""

from __future__ import annotations

import errno
import os

_TOLD = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "crashed with SIGKILL")
"""What processes that were started for it tell of a full disk, or of having been killed."""
_REASONS = (OSError, MemoryError, SystemError)
"""A file or disk, memory, a data worker that died."""


def may_pass(error: BaseException) -> bool:
    """Whether what failed may do the next time: a disk was full, a file not there, a process killed.

    All else follows from seed and configuration, and would fail again.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, _REASONS) or any(text in str(seen) for text in _TOLD):
            return True
        seen = seen.__cause__ or seen.__context__
    return False

"""The bytes of an image file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ppcls_compress.data.images.header import BadImageError

_LARGEST = 2**30
"""Bytes: more than any image that is decoded has, compressed or not."""


def read_image(path: str | Path) -> bytes:
    """The bytes of an image file.

    Raises:
        BadImageError: the file is missing, empty, unreadable, larger than 1 GiB, or no regular file; the message names
            it.
    """
    try:
        # Opening a pipe would wait for somebody to write into it.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BadImageError(f"{path}: not a regular file, but a {_kind(found.st_mode)}")
            if found.st_size > _LARGEST:
                raise BadImageError(f"{path}: {found.st_size:,} bytes, more than any image has")
            data = file.read()
    except OSError as error:
        raise BadImageError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        if isinstance(error, BadImageError):
            raise
        raise BadImageError(f"{path!r}: not the name of a file: {error}") from error
    if not data:
        raise BadImageError(f"{path}: the file is empty")
    return data


def _kind(mode: int) -> str:
    return "pipe" if stat.S_ISFIFO(mode) else "device"

"""Functions of other packages that stand aside for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def exchanged(module: object, name: str, value: object) -> Iterator[None]:
    """Another value for an attribute of a module within; its own afterwards."""
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)

"""Packages that only some formats need."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from ppcls_compress.errors import MissingDependencyError


def require(modules: Sequence[str], extra: str) -> None:
    """Check that optional packages are there, without importing them.

    Raises:
        MissingDependencyError: says which extra brings them.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(missing)
        raise MissingDependencyError(f"{names} not installed; pip install 'ppcls_compress[{extra}]' brings it")

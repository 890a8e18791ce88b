"""Packages that only some formats need."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

from ppcls_compress.errors import MissingDependencyError

TO_ONNX = ("paddle2onnx", "onnx")
"""What converts a network to ONNX."""
_LAST_PYTHON = {"paddle2onnx": (3, 12)}
"""Packages that exist for Pythons up to some version only; the extras leave them out on later ones."""


def missing(modules: Sequence[str]) -> list[str]:
    """Those of some packages that are not installed, without importing them."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def require(modules: Sequence[str], extra: str) -> None:
    """Check that optional packages are there, without importing them.

    Raises:
        MissingDependencyError: says which extra brings them, or that none does for this Python.
    """
    lacking = missing(modules)
    if lacking:
        names = " and ".join(lacking)
        for name in lacking:
            last = _LAST_PYTHON.get(name, sys.version_info)
            if last < sys.version_info[:2]:
                found = ".".join(map(str, sys.version_info[:2]))
                raise MissingDependencyError(
                    f"{name} not installed, and there is none for Python {found}; export to ONNX with Python "
                    f"{'.'.join(map(str, last))} or earlier, the exported files run with any"
                )
        raise MissingDependencyError(f"{names} not installed; pip install 'ppcls_compress[{extra}]' brings it")

"""Packages that only some formats need."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence

from ppcls_compress.errors import MissingDependencyError

CONVERTERS = ("paddle2onnx", "p2o")
"""What converts a program to ONNX; any of them does."""
TO_ONNX = ("|".join(CONVERTERS), "onnx", "onnx_ir", "onnxscript")
"""What converts a network to ONNX, and edits the graph."""
_LAST_PYTHON = {"paddle2onnx": (3, 12)}
"""Packages that exist for Pythons up to some version only; the extras leave them out on later ones."""
_PROGRAMS = ("p2o",)
"""Packages that bring a program instead of a module."""


def missing(modules: Sequence[str]) -> list[str]:
    """Those of some packages that are not installed, without importing them; of `a|b` one is enough."""
    return [names for names in modules if not any(map(_is_there, names.split("|")))]


def _is_there(name: str) -> bool:
    return (program(name) if name in _PROGRAMS else importlib.util.find_spec(name)) is not None


def program(name: str) -> str | None:
    """The path of a program that a package brought, beside this Python or elsewhere; None without it."""
    folders = (sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath))
    return shutil.which(name, path=os.pathsep.join(folders))


def require(modules: Sequence[str], extra: str) -> None:
    """Check that optional packages are there, without importing them.

    Args:
        modules: their names; `a|b` for packages of which one is enough.
        extra: of this package, which brings them.

    Raises:
        MissingDependencyError: says which extra brings them.
    """
    lacking = missing(modules)
    if lacking:
        names = " and ".join(" or ".join(filter(_exists, names.split("|"))) for names in lacking)
        raise MissingDependencyError(f"{names} not installed; pip install 'ppcls_compress[{extra}]' brings it")


def absence(name: str) -> str:
    """What to say of a package that is not installed, where another does its work."""
    if _exists(name):
        return f"{name} is not installed"
    return f"{name} does not exist for Python {'.'.join(map(str, sys.version_info[:2]))}"


def _exists(name: str) -> bool:
    """Whether there is a package for this Python."""
    return _LAST_PYTHON.get(name, sys.version_info[:2]) >= sys.version_info[:2]

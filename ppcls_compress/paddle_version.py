"""Which releases of PaddlePaddle are supported, and which one is there: looked up without importing it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from ppcls_compress.errors import UserError

OLDEST, NEWEST = (3, 0), (3, 3)
"""The tests run on the last release of each of these and of all between (`benchmarks/paddle_matrix.py`)."""
_SUPPORTED = " to ".join(dict.fromkeys(".".join(map(str, release)) for release in (OLDEST, NEWEST)))
_INSTALL = f"pip install 'paddlepaddle>={OLDEST[0]}.{OLDEST[1]}.0,<{NEWEST[0]}.{NEWEST[1] + 1}'"


def check() -> str | None:
    """A line about a PaddlePaddle that is newer than those that were tested; None for one of those.

    Raises:
        UserError: there is none, or one that is too old; says what to install.
    """
    found = installed()
    if found is None:
        raise UserError(f"PaddlePaddle is not installed; supported: {_SUPPORTED}: {_INSTALL}")
    match = re.match(r"(\d+)\.(\d+)\.(\d+)-?(a|b|rc)?", found)
    if match is None or found.startswith("0.0.0"):  # built from source
        return None
    release = int(match[1]), int(match[2])
    if release < OLDEST or ((*release, match[3]) == (*OLDEST, "0") and match[4]):
        raise UserError(f"PaddlePaddle {found} is too old; supported: {_SUPPORTED}: {_INSTALL}")
    if release > NEWEST:
        return f"PaddlePaddle {found} is not tested, {_SUPPORTED} is; should something fail: {_INSTALL}"
    return None


def installed() -> str | None:
    """The version of the PaddlePaddle that `import paddle` would load, whatever its distribution is called."""
    spec = importlib.util.find_spec("paddle")
    for folder in (spec and spec.submodule_search_locations) or ():
        file = Path(folder, "version", "__init__.py")
        if file.is_file():
            found = re.search(r"^full_version\s*=\s*['\"](.+)['\"]", file.read_text(encoding="utf-8"), re.MULTILINE)
            return found[1] if found else None
    return None

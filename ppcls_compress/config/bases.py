"""`_BASE_: other.yaml`: a file that says only what is different from another one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ppcls_compress.errors import ConfigError, shortened

KEY = "_BASE_"
MOST_FILES = 8
"""That stand on one another."""
_MOST_UP = 2
_ALLOWED = (
    "allowed is one .yaml or .yml file, relative to the folder of the file that names it, "
    f"with up to {_MOST_UP} times ../ before it"
)


def base_of(data: dict[str, Any], path: Path) -> Path | None:
    """The file that `data`, read from `path`, stands on; None where it stands alone. Its key is taken out of `data`.

    Raises:
        ConfigError: the key is no such path.
    """
    if KEY not in data:
        return None
    named = data.pop(KEY)
    if not isinstance(named, str) or not _is_allowed(named):
        raise ConfigError(f"{path}: {KEY}: found {shortened(named)}; {_ALLOWED}")
    return path.parent / named


def _is_allowed(named: str) -> bool:
    place = PurePosixPath(named)
    up = next((count for count, part in enumerate(place.parts) if part != ".."), len(place.parts))
    return (
        not place.is_absolute()
        and up <= _MOST_UP
        and ".." not in place.parts[up:]
        and place.suffix.lower() in (".yaml", ".yml")
        and not {"\\", "\0", "~", "$"} & set(named)
    )


def check_chain(files: Sequence[Path]) -> None:
    """Refuse a base that stands on what it is the base of, and too many of them.

    Args:
        files: each the base of the one before it.

    Raises:
        ConfigError: naming the files.
    """
    names = [os.path.realpath(file) for file in files]
    if names[-1] in names[:-1]:
        chain = " -> ".join(map(str, files[names.index(names[-1]) :]))
        raise ConfigError(f"{files[-2]}: {KEY}: the files go round in a circle: {chain}")
    if len(files) > MOST_FILES:
        raise ConfigError(f"{files[-2]}: {KEY}: more than {MOST_FILES} files stand on one another")


def merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own` on top of `base`: sections are merged key by key, everything else takes the place of what was there.

    A section that has another `name` than the base's is another thing, whose options do not fit, and replaces it whole.
    """
    found = dict(base)
    for key, value in own.items():
        under = base.get(key)
        both = isinstance(value, dict) and isinstance(under, dict)
        same = both and ("name" not in value or "name" not in under or value["name"] == under["name"])
        found[key] = merged(under, value) if same else value
    return found

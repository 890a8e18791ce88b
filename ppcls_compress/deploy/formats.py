"""All formats that a model is exported to; each runtime's folder declares its own in its `formats.py`.

One directory holds them all: `paddle` its files, the others a sub-folder each, so that any of them can be moved alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ppcls_compress.deploy.kinds import Format
from ppcls_compress.deploy.onnx import formats as onnx
from ppcls_compress.deploy.paddle import formats as paddle
from ppcls_compress.errors import ConfigError, UserError, unknown

_ALL = (*paddle.FORMATS, *onnx.FORMATS)
FORMATS: Mapping[str, Format] = {item.name: item for item in _ALL}
"""By name, in the order in which they are written."""
RUNTIMES = tuple(dict.fromkeys(item.name for kind in _ALL for item in kind.runtimes))
"""The names of all runtimes."""


def get(name: str) -> Format:
    """The format of a name.

    Raises:
        UserError: no such format; the message names the closest.
    """
    if name not in FORMATS:
        raise UserError(unknown("export format", name, FORMATS))
    return FORMATS[name]


def chosen(names: Sequence[str], *, where: str = "--format") -> list[Format]:
    """The formats that a user asks for, each once; `where` they are named is for messages.

    `all` means every one that is run where it is written; what is meant for elsewhere is asked for by its name, for its
    rules refuse networks that all others take.

    Raises:
        ConfigError: no such format; the message names the closest.
    """
    selectable = {name: kind for name, kind in FORMATS.items() if kind.selectable}
    for name in names:
        if name not in (*selectable, _EVERY):
            raise ConfigError(f"{where}: {unknown('export format', name, (*selectable, _EVERY))}")
    return [kind for name, kind in selectable.items() if name in names or (_EVERY in names and not kind.elsewhere)]


_EVERY = "all"


def places(directory: Path) -> dict[str, Path]:
    """Where each format lies in a directory of exports."""
    return {kind.name: directory / kind.folder for kind in FORMATS.values()}

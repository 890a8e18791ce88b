"""All formats that a model is exported to; each runtime's folder declares its own in its `formats.py`.

One directory holds them all: `paddle` its files, the others a sub-folder each, so that any of them can be moved alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls_compress.deploy.kinds import Format, Session
from ppcls_compress.deploy.onnx import formats as onnx
from ppcls_compress.deploy.paddle import formats as paddle
from ppcls_compress.errors import ConfigError, UserError, unknown

if TYPE_CHECKING:
    from ppcls_compress.deploy.artifact import Artifact

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


def chosen(names: Sequence[str]) -> list[Format]:
    """The formats that a user asks for, each once; `all` means every one.

    Raises:
        ConfigError: no such format; the message names the closest.
    """
    selectable = {name: kind for name, kind in FORMATS.items() if kind.selectable}
    for name in names:
        if name not in (*selectable, _EVERY):
            raise ConfigError(f"--format: {unknown('export format', name, (*selectable, _EVERY))}")
    return [kind for name, kind in selectable.items() if name in names or _EVERY in names]


_EVERY = "all"


def places(directory: Path) -> dict[str, Path]:
    """Where each format lies in a directory of exports."""
    return {kind.name: directory / kind.folder for kind in FORMATS.values()}


def open_session(exported: Artifact, threads: int, runtime: str | None = None) -> Session:
    """Load the network of an artifact into a runtime of its format, None for the format's own.

    Raises:
        MissingDependencyError: the runtime is not installed.
        UserError: the format is not known or does not run there, or the runtime refuses the files.
    """
    kind = get(exported.description.format)
    chosen = kind.runtime(runtime)
    lacking = [name for name in kind.files if name not in exported.files]
    if lacking:
        raise UserError(f"{exported.directory}: has no {', '.join(lacking)}, which the format {kind.name} consists of")
    chosen.require()
    return chosen.open(exported.directory, threads)


ELSEWHERE = "elsewhere"
"""In what an artifact tells of its comparison: what was found in further runtimes, by name."""


def refusal(exported: Artifact, runtime: str | None) -> str | None:
    """Why an artifact must not be used in a runtime of its format, or None.

    One that was compared with its model has proven itself in the runtimes that it was compared in, and in no other.
    """
    found, chosen = exported.description.parity, get(exported.description.format).runtime(runtime)
    if not found or chosen == get(exported.description.format).runtime():
        return None
    there = found.get(ELSEWHERE, {}).get(chosen.name)
    if there is None:
        return f"was not compared with its model in {chosen.title}; export it again where that is installed"
    problem = there.get("problem")
    return None if problem is None else f"failed the comparison with its model in {chosen.title}: {problem}"

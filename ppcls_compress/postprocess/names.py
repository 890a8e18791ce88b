"""The names of classes: a file that a configuration names, or one of PaddleClas' lists, which come along."""

from __future__ import annotations

import re
from pathlib import Path

_SHIPPED = Path(__file__).parent / "label_lists"
_HOME = re.compile(r"(?:.*/)?ppcls/utils/(.+)")


def shipped() -> list[str]:
    """The lists that come along, as PaddleClas' files call them: `ppcls/utils/imagenet1k_label_list.txt`."""
    return [f"ppcls/utils/{path.relative_to(_SHIPPED).as_posix()}" for path in sorted(_SHIPPED.rglob("*.txt"))]


def find(text: str) -> Path:
    """Where the list is that a configuration calls `text`: the file itself, or else the one that comes along."""
    path, inside = Path(text), _HOME.fullmatch(text)
    if path.exists() or inside is None:
        return path
    name = _SHIPPED / inside[1]
    return name if name.is_file() else path

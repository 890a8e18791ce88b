"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console

_WIDTH = 200


def standard_output() -> Console:
    """Standard output; a file or a pipe has no width that would cut the columns."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)

"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console

_WIDTH = 200


def standard_output() -> Console:
    """Standard output; a file or a pipe has no width that would cut the columns.

    What is printed are names, paths and messages: brackets and colons in them mean nothing else.
    """
    plain = {"highlight": False, "markup": False, "emoji": False}
    console = Console(**plain)
    return console if console.is_terminal else Console(**plain, width=_WIDTH)

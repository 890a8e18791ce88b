"""Errors that a user can act on, and the wording they share.

This module is a leaf: every other package may import it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user can mend; the command line prints it as one line and exits with code 2."""


class ConfigError(UserError):
    """A configuration key or value that cannot be used; the message starts with the key's full path."""


class ForeignFileError(ConfigError):
    """A configuration that is for another tool; the message says what it is and what does the job."""


class MissingDependencyError(UserError):
    """An optional package is needed; the message says which extra brings it."""


class NoFormError(UserError):
    """A network that computes what a format has no form for; other formats may have one."""


class NotKeptError(UserError):
    """What was promised cannot be kept by anything that was tried; the command line exits with code 3."""


def shortened(value: object, limit: int = 60) -> str:
    """`repr(value)`, its middle left out where it is longer than `limit` characters."""
    try:
        return cut(repr(value), limit)
    except ValueError:  # Python refuses to write a whole number of many thousand digits
        return f"a {type(value).__name__} too long to write"


def one_line(text: object, limit: int = 1000) -> str:
    """A message, of another library say, as one line of at most `limit` characters."""
    return cut(" ".join(str(text).split()), limit)


def cut(text: str, limit: int) -> str:
    """`text`, its middle left out where it is longer than `limit` characters."""
    end = (limit - 5) // 4
    return text if len(text) <= limit else f"{text[: limit - 5 - end]} ... {text[-end:]}"


_LONGEST_NAME = 200
"""Nothing that is longer can be meant for one of several names, and to compare it takes long."""


def closest(name: object, choices: Iterable[str]) -> str | None:
    """The choice that reads most like `name`, ignoring case, or None when nothing comes close."""
    if len(str(name)) > _LONGEST_NAME:
        return None
    by_fold = {choice.casefold(): choice for choice in choices}
    found = difflib.get_close_matches(str(name).casefold(), by_fold, n=1, cutoff=0.6)
    return by_fold[found[0]] if found else None


def unknown(kind: str, name: object, choices: Iterable[str]) -> str:
    """One line for a name that does not exist: what was found, the closest match, what is allowed.

    A long list of choices is cut to the dozen that read most like the name.
    """
    choices = sorted(choices)
    match = closest(name, choices)
    hint = f"; did you mean {match!r}?" if match else "."
    shown = choices
    if len(choices) > 24:
        near = difflib.get_close_matches(str(name)[:_LONGEST_NAME], choices, n=12, cutoff=0.0)
        shown = [*near, f"... ({len(choices)} in all)"]
    return f"unknown {kind} {shortened(name)}{hint} Allowed: {', '.join(shown) or 'none'}"


def first_line(error: BaseException) -> str:
    """What an exception says, in one line: Paddle's long texts are cut to the line that states the error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    stated = [line for line in lines if "Error:" in line or "Exception:" in line or line.startswith("(")]
    kind, said = type(error).__name__, (stated or lines or [""])[-1 if stated else 0]
    return f"{kind}: {said.removeprefix(f'{kind}: ')[:300]}"

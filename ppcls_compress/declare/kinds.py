"""What a value must not be though Python takes it: a boolean is no number, a plain value is no section."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from ppcls_compress.errors import shortened


def boolean_for_number(hint: Any, value: Any) -> str | None:
    """Why a value with a boolean in it cannot be what `hint` asks for, or None.

    Python counts True as 1, and so would a learning rate.
    """
    if not _holds_boolean(value):
        return None
    kinds = _kinds(hint)
    if not kinds & {int, float} or kinds & {bool, object}:
        return None
    return f"expected a number, found {shortened(value)}"


def _holds_boolean(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return isinstance(value, bool)
    return any(map(_holds_boolean, value))


def _kinds(hint: Any) -> set[type]:
    """The plain types in a type annotation; `object` stands for anything."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {type(value) for value in arguments}
    if origin is Annotated:
        return _kinds(arguments[0])
    if origin is not None:
        return set().union(*map(_kinds, arguments))
    return {object} if hint is Any else {hint} if isinstance(hint, type) else set()


def no_section(value: Any, keys: Iterable[str], example: str | None) -> str:
    """What a section must look like that is given as a plain value."""
    keys = list(keys)
    shown = ", ".join(keys[:8]) + (", ..." if len(keys) > 8 else "")
    form = f"such as {example}" if example else f"with keys {shown}"
    return f"expected a section, a dictionary {form}, found {shortened(value)}"

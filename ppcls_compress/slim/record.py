"""The compression record as plain JSON: `{"version": 1, "steps": [...]}`, steps in the order in which they were taken.

A step is of a kind that `SlimOptions` has as a field, or `fold`: what export, or quantization that was dropped again,
changed of the float network.

Imports neither Paddle nor the algorithms, so that everything that reads or writes a record can import it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ppcls_compress.errors import UserError
from ppcls_compress.slim.options import SlimOptions

Record = dict[str, Any]
VERSION = 1
_STEP_VERSION = 1
_LARGEST = 2**31 - 1  # of an index


def empty_record() -> Record:
    """The record of a dense model."""
    return {"version": VERSION, "steps": []}


def step_of(record: Mapping[str, Any], kind: str) -> Record | None:
    """The record's step of a kind, `prune` or `quant`, or None."""
    return next((step for step in record["steps"] if step["kind"] == kind), None)


def check(record: object, source: str | Path) -> Record:
    """`record` itself, when it has the form that rebuilding a model relies on.

    Whether it fits a network is for the network to say.

    Args:
        record: what a JSON file held.
        source: the file, for the message.

    Raises:
        UserError: it has another version or form; the message names the file and the first thing that is wrong.
    """
    problem = _problem(record)
    if problem is not None:
        raise UserError(f"{source}: not a compression record: {problem}")
    return record


def _problem(record: object) -> str | None:
    if not isinstance(record, dict):
        return f"expected an object, found {_short(record)}"
    if record.get("version") != VERSION:
        return f"version {_short(record.get('version'))} found, {VERSION} is known here"
    steps = record.get("steps")
    if not isinstance(steps, list):
        return f"steps: expected a list, found {_short(steps)}"
    problems = (_problem_of_step(step, f"steps[{index}]") for index, step in enumerate(steps))
    return next((problem for problem in problems if problem is not None), None)


def _problem_of_step(step: object, where: str) -> str | None:
    if not isinstance(step, dict):
        return f"{where}: expected an object, found {_short(step)}"
    kind = step.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        return f"{where}.kind: {_short(kind)} found, allowed: {', '.join(_KINDS)}"
    if step.get("version") != _STEP_VERSION:
        return f"{where}.version: {_short(step.get('version'))} found, {_STEP_VERSION} is known here"
    for key, (fits, expected) in _FIELDS.get(kind, _LEAST).items():
        if key not in step:
            return f"{where}.{key} is missing"
        if not fits(step[key]):
            return f"{where}.{key}: expected {expected}"
    for key in _OPTIONAL:
        if not _is_names(step.get(key, [])):
            return f"{where}.{key}: expected a list of names"
    for key, (fits, expected) in _ADDED.items():
        if key in step and not fits(step[key]):
            return f"{where}.{key}: expected {expected}"
    return None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _list_of(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(fits(item) for item in value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_index(value: object) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)


def _is_kept(value: object) -> bool:
    """{parameter: {axis: [indices]}}; JSON has the axes as text."""
    return _is_mapping(value) and all(
        _is_mapping(axes) and all(_is_axis(axis) and _list_of(_is_index)(kept) for axis, kept in axes.items())
        for axes in value.values()
    )


def _is_bits(value: object) -> bool:
    return _is_mapping(value) and all(type(bits) is int for bits in value.values())


def _is_rounded(value: object) -> bool:
    if not _is_mapping(value) or not _is_text(value.get("layer")):
        return False
    return all(type(value.get(key)) in (int, float) for key in ("nearest", "learned"))


def _is_axis(text: str) -> bool:
    return text.isdecimal() and len(text) <= 2


def _is_attribute(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and _is_text(value[0]) and _is_text(value[1])


def _is_pair(value: object) -> bool:
    return _list_of(_is_text)(value) and len(value) == 2


_OPTIONS = (_is_mapping, "an object of options")
_is_names = _list_of(_is_text)
_NAMES = (_is_names, "a list of names")
_PAIRS = (_list_of(_is_pair), "a list of [convolution, batch norm]")
_FIELDS: Mapping[str, Mapping[str, tuple[Callable[[object], bool], str]]] = {
    "prune": {
        "options": _OPTIONS,
        "kept": (_is_kept, "{parameter: {axis: [indices of kept channels]}}"),
        "attributes": (_list_of(_is_attribute), "a list of [layer, attribute, value]"),
    },
    "quant": {
        "options": _OPTIONS,
        "quantized": _NAMES,
        "folded": _PAIRS,
        "custom": _NAMES,
    },
    "fold": {"folded": _PAIRS, "biased": _NAMES},
}
"""What rebuilding reads of each kind of step; the rest of a step is told to the user when the step is taken."""
_LEAST = {"options": _OPTIONS}
"""Of a kind of step that checks the rest by itself."""
_KINDS = (*(field.name for field in fields(SlimOptions)), "fold")
_ADDED: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "bits": (_is_bits, "{layer: bits}"),
    "reconstructed": (_list_of(_is_rounded), "a list of objects with layer, nearest and learned"),
}
"""What a quantization may have besides."""
_OPTIONAL = ("merged", "normed", "uncalled")
"""Layers whose branches became one, whose weight no norm computes any more, that no evaluation calls: not every network
has such."""

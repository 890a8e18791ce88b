"""Targets that do not run here: what their documents ask of a graph is checked, and said to be checked only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from ppcls_compress.deploy.onnx import place_qdq, rknn
from ppcls_compress.errors import NoFormError

_TOLD = 3


@dataclass(frozen=True)
class Target:
    """What a layout is for.

    Attributes:
        title: for messages.
        check: what breaks its rules, a line each.
        prepare: changes a finished graph in place, and says how it is read there; None leaves it.
    """

    title: str
    check: Callable[[ir.Model], list[str]]
    prepare: Callable[[ir.Model], list[str]] | None = None


_TARGETS: Mapping[str, Target] = {
    "qdq": Target("TensorRT", place_qdq.check),
    "rknn": Target("RKNN", rknn.check, rknn.prepare),
}


def is_elsewhere(layout: str) -> bool:
    """Whether a layout is for a target that does not run here."""
    return layout in _TARGETS


def keep(model: ir.Model, layout: str) -> list[str]:
    """Make a finished graph what the target of its layout takes, in place.

    Args:
        model: nothing is put into it afterwards.
        layout: a name in `files.LAYOUTS`.

    Returns:
        Lines for the user; none for layouts that run here.

    Raises:
        NoFormError: the graph breaks a rule.
    """
    target = _TARGETS.get(layout)
    if target is None:
        return []
    notes = [] if target.prepare is None else target.prepare(model)
    broken = target.check(model)
    if broken:
        more = f"; and {len(broken) - _TOLD} more" if broken[_TOLD:] else ""
        raise NoFormError(f"onnx-{layout}: breaks rules of {target.title}: {'; '.join(broken[:_TOLD])}{more}")
    return [*notes, f"{target.title}: rules checked, not run"]

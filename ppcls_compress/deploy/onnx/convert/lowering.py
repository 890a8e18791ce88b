"""Operators that p2o 0.1.2 lacks, or takes for something else, written as those that it knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ppcls_compress.deploy.onnx.convert.program import integers, number
from ppcls_compress.deploy.program import Operator, Program, attribute, inputs, kind, shape


@dataclass(frozen=True)
class _Place:
    """Where an operator stands.

    Attributes:
        op: the operator.
        before: the shape of its first input; -1 for a free dimension.
        numbers: of its constant inputs, by the number of the value.
        free: a number of a value that is not in use, nor are those after it.
    """

    op: Operator
    before: list[int]
    numbers: Mapping[int, float]
    free: int


def lower(program: Program) -> None:
    """Rewrite a program for p2o, in place; what it computes stays the same."""
    free, shapes, numbers, lowered = program.fresh(), {}, {}, []
    for op in program.operators:
        if isinstance(op["O"], list) and op["O"]:
            shapes[op["O"][0]["%"]] = shape(op)
            if kind(op) == "full":
                numbers[op["O"][0]["%"]] = attribute(op, "value")
        rule = _RULES.get(kind(op))
        made = rule(_Place(op, shapes.get(inputs(op)[0], []), numbers, free)) if rule else None
        lowered += [op] if made is None else made
        free += 0 if made is None else len(made) - 1
    program.operators[:] = lowered


def _dropout(place: _Place) -> list[Operator] | None:
    """Dropout that scales where it does not drop, which p2o takes for one that does nothing."""
    source, _, rate = inputs(place.op)
    if attribute(place.op, "mode") != "downgrade_in_infer" or rate not in place.numbers:
        return None
    scale = _instead(place.op, "scale", source, place.free)
    scale["A"] = [
        {"N": "bias", "AT": {"#": "0.a_f32", "D": 0.0}},
        {"N": "bias_after_scale", "AT": {"#": "0.a_bool", "D": True}},
    ]
    return [number(place.free, 1.0 - place.numbers[rate]), scale]


def _relu6(place: _Place) -> list[Operator]:
    return _clip(place, 0.0, 6.0)


def _hardtanh(place: _Place) -> list[Operator]:
    return _clip(place, attribute(place.op, "t_min"), attribute(place.op, "t_max"))


def _clip(place: _Place, low: float, high: float) -> list[Operator]:
    bounds = (place.free, place.free + 1)
    clip = _instead(place.op, "clip", inputs(place.op)[0], *bounds)
    return [number(bounds[0], low), number(bounds[1], high), clip]


def _flatten(place: _Place) -> list[Operator] | None:
    """Flattening all but the batch, which p2o writes as reshaping to numbers."""
    axes = attribute(place.op, "start_axis"), attribute(place.op, "stop_axis")
    if axes not in ((1, -1), (1, len(place.before) - 1)):
        return None
    return [integers(place.free, [0, -1]), _instead(place.op, "reshape", inputs(place.op)[0], place.free)]


def _pool2d(place: _Place) -> list[Operator] | None:
    """Pooling to a size that divides that of the image: equal windows side by side."""
    before, after = place.before[2:], shape(place.op)[2:]
    windows = [whole // part for whole, part in zip(before, after, strict=True) if part > 0 and whole % part == 0]
    if not attribute(place.op, "adaptive") or after == [1, 1] or len(windows) != len(after) or min(before) < 1:
        return None
    size, pooling = integers(place.free, windows), _instead(place.op, "pool2d", inputs(place.op)[0], place.free)
    values = {"adaptive": False, "strides": attribute(size, "value")}
    pooling["A"] = [_with(item, values) for item in place.op["A"]]
    return [size, pooling]


def _instead(op: Operator, name: str, *reads: int) -> Operator:
    """An operator that gives what another one gives first."""
    return {"#": f"1.{name}", "A": [], "I": [{"%": item} for item in reads], "O": op["O"][:1], "OA": []}


def _with(item: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A named attribute, with another value if there is one for it."""
    if item["N"] not in values:
        return item
    return {"N": item["N"], "AT": {**item["AT"], "D": values[item["N"]]}}


_RULES: Mapping[str, Callable[[_Place], list[Operator] | None]] = {
    "dropout": _dropout,
    "relu6": _relu6,
    "hardtanh": _hardtanh,
    "flatten": _flatten,
    "pool2d": _pool2d,
}

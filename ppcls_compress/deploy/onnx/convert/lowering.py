"""Operators that p2o 0.1.2 lacks or takes for something else, written as those that it knows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from ppcls_compress.deploy.onnx.convert.program import Operator, Program, attribute, constant, inputs, kind, shape


def lower(program: Program) -> None:
    """Rewrite a program for p2o, in place; what it computes stays the same."""
    number = program.fresh()
    given = {op["O"][0]["%"]: op for op in program.operators if kind(op) in ("full", "full_int_array")}
    shapes = {op["O"][0]["%"]: shape(op) for op in program.operators if isinstance(op["O"], list) and op["O"]}
    lowered = []
    for op in program.operators:
        make = _RULES.get(kind(op))
        found = None if make is None else make(op, given, shapes, number)
        lowered += [op] if found is None else found
        number += 0 if found is None else len(found) - 1
    program.operators[:] = lowered


def _dropout(op: Operator, given: Mapping[int, Operator], _: Mapping[int, list[int]], number: int) -> Any:
    """Dropout that scales where it does not drop: p2o takes it for one that does nothing."""
    rate = given.get(inputs(op)[2])
    if attribute(op, "mode") != "downgrade_in_infer" or rate is None:
        return None
    scale = _like(op, "scale", [inputs(op)[0], number])
    scale["A"] = [
        {"N": "bias", "AT": {"#": "0.a_f32", "D": 0.0}},
        {"N": "bias_after_scale", "AT": {"#": "0.a_bool", "D": True}},
    ]
    return [constant(number, 1.0 - attribute(rate, "value")), scale]


def _relu6(op: Operator, _: Mapping[int, Operator], __: Mapping[int, list[int]], number: int) -> Any:
    return _clip(op, (0.0, 6.0), number)


def _hardtanh(op: Operator, _: Mapping[int, Operator], __: Mapping[int, list[int]], number: int) -> Any:
    return _clip(op, (attribute(op, "t_min"), attribute(op, "t_max")), number)


def _clip(op: Operator, bounds: tuple[float, float], number: int) -> list[Operator]:
    made = [constant(number + index, value) for index, value in enumerate(bounds)]
    return [*made, _like(op, "clip", [inputs(op)[0], number, number + 1])]


def _pool2d(op: Operator, given: Mapping[int, Operator], shapes: Mapping[int, list[int]], number: int) -> Any:
    """Pooling to a size that divides that of the image: equal windows side by side."""
    before, after = shapes.get(inputs(op)[0], [])[2:], shape(op)[2:]
    windows = [whole // part for whole, part in zip(before, after, strict=True) if part > 0 and whole % part == 0]
    if not attribute(op, "adaptive") or after == [1, 1] or len(windows) != len(after) or min(before) < 1:
        return None
    size = copy.deepcopy(given[inputs(op)[1]])
    size["O"][0]["%"] = number
    pooling = _like(op, "pool2d", [inputs(op)[0], number])
    values = {"adaptive": False, "strides": _integers(windows)}
    pooling["A"] = [_with(item, values) for item in op["A"]]
    size["A"] = [_with(item, {"value": _integers(windows)}) for item in size["A"]]
    return [size, pooling]


def _like(op: Operator, name: str, reads: list[int]) -> Operator:
    """An operator that gives what another one gives first."""
    return {"#": f"1.{name}", "A": [], "I": [{"%": item} for item in reads], "O": op["O"][:1], "OA": []}


def _with(item: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A named attribute, with another value if there is one for it."""
    if item["N"] not in values:
        return item
    return {"N": item["N"], "AT": {**item["AT"], "D": values[item["N"]]}}


def _integers(values: list[int]) -> list[dict[str, Any]]:
    return [{"#": "0.a_i64", "D": value} for value in values]


_RULES: Mapping[str, Callable[..., list[Operator] | None]] = {
    "dropout": _dropout,
    "relu6": _relu6,
    "hardtanh": _hardtanh,
    "pool2d": _pool2d,
}

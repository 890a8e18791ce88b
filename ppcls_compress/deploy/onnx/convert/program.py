"""What the converters' rules write into a program before a converter reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ppcls_compress.deploy.program import DIALECT, PARAMETER, Operator, Program, kind

_DOUBLE, _FLOAT = "0.a_f64", "0.a_f32"
_CONSTANTS = ("full", "assign_value")  # whose numbers every reader takes as doubles


def doubles_as_floats(program: Program) -> None:
    """Turn the attributes that are doubles into floats, as ONNX has them, in place; numbers of constants stay."""
    for op in program.everything():
        if kind(op) not in (*_CONSTANTS, PARAMETER):
            for value in _values(op["A"]):
                value["#"] = _FLOAT if value["#"] == _DOUBLE else value["#"]


def number(at: int, value: float) -> Operator:
    """An operator that gives one float32 under the number `at`."""
    shape = {"#": "1.a_intarray", "D": [1]}
    return _made(at, "full", ("f32", "float32"), 1, shape=shape, value={"#": _DOUBLE, "D": value})


def integers(at: int, values: Sequence[int]) -> Operator:
    """An operator that gives a list of int64 under the number `at`."""
    value = {"#": "0.a_array", "D": [{"#": "0.a_i64", "D": item} for item in values]}
    return _made(at, "full_int_array", ("i64", "int64"), len(values), value=value)


def _made(at: int, name: str, element: tuple[str, str], size: int, **attributes: Any) -> Operator:
    attributes |= {"dtype": {"#": "1.a_dtype", "D": element[1]}, "place": {"#": "1.a_place", "D": [1, 0, ""]}}
    described = {"#": "0.t_dtensor", "D": [{"#": f"0.t_{element[0]}"}, [size], "NCHW", [], 0]}
    return {
        "#": f"{DIALECT}{name}",
        "A": [{"N": name, "AT": item} for name, item in attributes.items()],
        "I": [],
        "O": [{"%": at, "TT": described}],
        "OA": [],
    }


def _values(attributes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Attribute values with a type, those in arrays too."""
    for item in attributes:
        value = item["AT"]
        yield value
        if isinstance(value.get("D"), list):
            yield from (entry for entry in value["D"] if isinstance(entry, dict) and "#" in entry)

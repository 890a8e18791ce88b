"""A program that Paddle saved, as the JSON that the converters read.

The file holds a list of operators, each a dict: `#` its kind, `A` its attributes, `I` the numbers of the values that it
reads, `O` those that it gives with their types. Parameters stand first, with kind `p`; their values lie in a file of
their own, in the order of their names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ppcls_compress import io
from ppcls_compress.errors import UserError

Operator = dict[str, Any]
PARAMETER = "p"
DIALECT = "1."
_DOUBLE, _FLOAT = "0.a_f64", "0.a_f32"
_CONSTANTS = ("full", "assign_value")  # whose numbers every reader takes as doubles
_ITEM_SIZES = {"f64": 8, "i64": 8, "f32": 4, "i32": 4, "f16": 2, "bf16": 2, "i16": 2, "i8": 1, "ui8": 1, "bool": 1}


class Program:
    """What `paddle.jit.save` wrote, to be read and changed.

    Attributes:
        operators: of the outermost block, in the order in which they run.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content
        self.operators: list[Operator] = content["program"]["regions"][0]["blocks"][0]["ops"]

    @classmethod
    def read(cls, path: Path) -> Program:
        """The program in a JSON file.

        Raises:
            UserError: it is missing or holds something else.
        """
        try:
            return cls(io.read_json(path))
        except (KeyError, IndexError, TypeError) as error:
            raise UserError(f"{path}: holds no program of PaddlePaddle 3") from error

    def copy(self) -> Program:
        """The same program to change apart."""
        return Program(json.loads(json.dumps(self._content)))

    def write(self, path: Path) -> None:
        """Write it to a JSON file."""
        path.write_text(json.dumps(self._content), encoding="utf-8")

    def parameters(self) -> dict[str, tuple[str, tuple[int, ...], int]]:
        """Element type, shape and size in bytes of each parameter, in the order of the file of their values."""
        found = {op["A"][3]: op["O"]["TT"]["D"] for op in self.operators if kind(op) == PARAMETER}
        return {name: _layout(found[name]) for name in sorted(found)}

    def fresh(self) -> int:
        """The number of a value that is not in use."""
        outputs = (output for op in self.operators for output in _outputs(op))
        return 1 + max(output["%"] for output in outputs)

    def doubles_as_floats(self) -> None:
        """Turn the attributes that are doubles into floats, as ONNX has them, in place; numbers of constants stay."""
        for op in _with_inner(self.operators):
            if kind(op) not in (*_CONSTANTS, PARAMETER):
                for value in _values(op["A"]):
                    value["#"] = _FLOAT if value["#"] == _DOUBLE else value["#"]


def kind(op: Operator) -> str:
    """What an operator computes, `batch_norm` say; what works in place has the name of what does not."""
    return op["#"].removeprefix(DIALECT).rstrip("_")


def attribute(op: Operator, name: str) -> Any:
    """The value of an attribute; None if there is none of that name."""
    return next((item["AT"].get("D") for item in op["A"] if item["N"] == name), None)


def inputs(op: Operator) -> list[int]:
    """The numbers of the values that an operator reads; 0 for one that is left out."""
    return [item["%"] for item in op["I"]]


def shape(op: Operator) -> list[int]:
    """Of the first value that an operator gives; -1 for a free dimension."""
    return _outputs(op)[0]["TT"]["D"][1]


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


def _with_inner(operators: list[Operator]) -> Iterator[Operator]:
    """Operators and those in the blocks that they run."""
    for op in operators:
        yield op
        for region in op.get("regions", ()):
            for block in region["blocks"]:
                yield from _with_inner(block["ops"])


def _outputs(op: Operator) -> list[dict[str, Any]]:
    return [op["O"]] if kind(op) == PARAMETER else op["O"]


def _layout(described: list[Any]) -> tuple[str, tuple[int, ...], int]:
    element, sizes = described[0]["#"].removeprefix("0.t_"), tuple(described[1])
    count = 1
    for size in sizes:
        count *= size
    return element, sizes, count * _ITEM_SIZES[element]


def _values(attributes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Attribute values with a type, those in arrays too."""
    for item in attributes:
        value = item["AT"]
        yield value
        if isinstance(value.get("D"), list):
            yield from (entry for entry in value["D"] if isinstance(entry, dict) and "#" in entry)

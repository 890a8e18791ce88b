"""A program that Paddle 3 saved, as the JSON that Paddle Inference and the converters read.

The file holds a list of operators, each a dict: `#` its kind, `A` its attributes, `I` the numbers of the values that it
reads, `O` those that it gives with their types. Parameters stand first, with kind `p`; their values lie in a file of
their own, in the order of their names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppcls_compress import io
from ppcls_compress.errors import UserError

Operator = dict[str, Any]
PARAMETER = "p"
DIALECT = "1."
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
        return 1 + max(number for op in self.operators for number in outputs(op))

    def everything(self) -> Iterator[Operator]:
        """The operators, and those of the blocks that they run."""
        return _with_inner(self.operators)

    def kinds(self) -> frozenset[str]:
        """What its operators compute, in inner blocks too."""
        return frozenset(map(kind, self.everything()))


def kind(op: Operator) -> str:
    """What an operator computes, `batch_norm` say; what works in place has the name of what does not."""
    return op["#"].removeprefix(DIALECT).rstrip("_")


def attribute(op: Operator, name: str) -> Any:
    """The value of an attribute; None if there is none of that name."""
    return next((item["AT"].get("D") for item in op["A"] if item["N"] == name), None)


def inputs(op: Operator) -> list[int]:
    """The numbers of the values that an operator reads; 0 for one that is left out."""
    return [item["%"] for item in op.get("I", ())]


def outputs(op: Operator) -> list[int]:
    """The numbers of the values that an operator gives."""
    return [item["%"] for item in _outputs(op)]


def shape(op: Operator) -> list[int]:
    """Of the first value that an operator gives; -1 for a free dimension."""
    return _outputs(op)[0]["TT"]["D"][1]


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

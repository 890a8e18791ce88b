"""A Paddle program of the older kind (`.pdmodel`), put together operator by operator.

Paddle 3 itself writes such a program only after switching the whole process to its older representation. The objects
here are plain containers of Paddle's core: nothing is traced or run, and no mode changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import paddle
from paddle.base import core

Attribute = int | float | bool | str | list[int]
_TYPES = {"float32": core.VarDesc.VarType.FP32, "int8": core.VarDesc.VarType.INT8, "int32": core.VarDesc.VarType.INT32}
_FREE = -1


class Program:
    """One block of operators with a single input and a single output.

    Args:
        name: of the input.
        shape: of the input without the batch, which is free.
    """

    def __init__(self, name: str, shape: Sequence[int]) -> None:
        self._desc = core.ProgramDesc()
        self._block = self._desc.block(0)
        self._constants: dict[str, np.ndarray] = {}
        self._names: set[str] = set()
        self.input = name
        feed = self._variable("feed", core.VarDesc.VarType.FEED_MINIBATCH)
        self._declare(name, (_FREE, *shape), "float32").set_need_check_feed(True)
        self._append("feed", {"X": [feed]}, {"Out": [name]}, {"col": 0})

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a parameter, float32, int8 or int32; returns its name, made unique."""
        name = self._unique(name)
        value = np.ascontiguousarray(value)
        self._declare(name, value.shape, str(value.dtype)).set_persistable(True)
        self._constants[name] = value
        return name

    def add(
        self,
        kind: str,
        inputs: Mapping[str, str | Sequence[str]],
        output: str = "Out",
        *,
        unused: Sequence[str] = (),
        also: Mapping[str, str] | None = None,
        number: int = 1,
        **attributes: Attribute,
    ) -> list[str]:
        """Add an operator, its remaining attributes at their defaults.

        Args:
            kind: type of the operator.
            inputs: names of tensors by slot.
            output: slot of the results.
            unused: further output slots that the operator insists on.
            also: tensors that it writes into as well, by slot.
            number: how many tensors the slot holds.

        Returns:
            Names of the results.
        """
        results = [self._declare(self._unique(f"{kind}_out"), (), "float32").name() for _ in range(number)]
        outputs = {output: results, **{slot: [name] for slot, name in (also or {}).items()}}
        for slot in unused:
            outputs[slot] = [self._declare(self._unique(f"{kind}_{slot}"), (), "float32").name()]
        operands = {slot: [names] if isinstance(names, str) else list(names) for slot, names in inputs.items()}
        op = self._append(kind, operands, outputs, attributes)
        op.infer_var_type(self._block)
        op.infer_shape(self._block)
        return results

    def operators(self) -> list[core.OpDesc]:
        """What it consists of, in order; to be read while the program is there."""
        return [self._block.op(place) for place in range(self._block.op_size())]

    def value(self, name: str) -> np.ndarray | None:
        """A parameter's value; None of other tensors."""
        return self._constants.get(name)

    def save(self, output: str, network: Path, parameters: Path) -> None:
        """Write both files; `output` is what the program gives."""
        fetch = self._variable("fetch", core.VarDesc.VarType.FETCH_LIST)
        self._append("fetch", {"X": [output]}, {"Out": [fetch]}, {"col": 0})
        self._desc.flush()
        self._desc._set_version()
        core.save_op_version_info(self._desc)
        network.write_bytes(self._desc.serialize_to_string())
        with parameters.open("wb") as file:
            for name in sorted(self._constants):
                tensor = paddle.to_tensor(self._constants[name])  # owns the memory that is written
                file.write(core.save_dense_tensor_to_memory(tensor.get_tensor()))

    def _unique(self, stem: str) -> str:
        name, number = stem, 0
        while name in self._names:
            number += 1
            name = f"{stem}_{number}"
        return name

    def _declare(self, name: str, shape: Sequence[int], dtype: str) -> core.VarDesc:
        self._names.add(name)
        variable = self._block.var(name.encode())
        variable.set_type(core.VarDesc.VarType.DENSE_TENSOR)
        variable.set_dtype(_TYPES[dtype])
        variable.set_shape(list(shape))
        return variable

    def _variable(self, name: str, kind: core.VarDesc.VarType) -> str:
        variable = self._block.var(name.encode())
        variable.set_type(kind)
        variable.set_persistable(True)
        return name

    def _append(
        self,
        kind: str,
        inputs: Mapping[str, list[str]],
        outputs: Mapping[str, list[str]],
        attributes: Mapping[str, Attribute],
    ) -> core.OpDesc:
        op = self._block.append_op()
        op.set_type(kind)
        for slot, names in inputs.items():
            op.set_input(slot, names)
        for slot, names in outputs.items():
            op.set_output(slot, names)
        for name, value in attributes.items():
            op._set_attr(name, value)
        op.check_attrs()
        return op


def shape_of(network: Path, name: str) -> list[int]:
    """The shape of a tensor in a written program; a free dimension is -1."""
    program = core.ProgramDesc(network.read_bytes())  # owns its variables
    return next(variable.shape() for variable in program.block(0).all_vars() if variable.name() == name)

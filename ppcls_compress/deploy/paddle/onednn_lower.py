"""A quantized network as a program whose convolutions oneDNN computes with integers.

Paddle's passes find the ranges at the quantizers and keep one for each tensor. From there they carry them over to other
tensors: through pooling, concatenation and reshaping, forwards and backwards, also where the values are other ones, and
into whatever else reads a convolution's output. So that nothing is rounded but what training rounded:

- a tensor carries the range of its readers only if all of them agree on it and no such operator wrote it; otherwise
  the reader gets a copy of its own, through a ReLU for an unsigned grid, or a clip to the range for a signed one;
- everything but the convolutions is marked to stay in float;
- linear layers are written as 1 x 1 convolutions: for Paddle's integer `fc` the passes compute the ranges of the
  weights over the wrong elements.

The passes take a tensor for unsigned when a ReLU wrote it. Where training had a signed grid there, oneDNN's is twice as
fine.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from ppcls_compress.deploy.notes import some
from ppcls_compress.deploy.paddle.onednn_program import Program
from ppcls_compress.errors import NoFormError
from ppcls_compress.slim.graph import Graph, Op
from ppcls_compress.slim.quant import InputGrid, LayerGrid, WeightGrid

CONVOLUTIONS = ("conv2d", "depthwise_conv2d")
_BITS = 8
_CARRYING = frozenset(
    {"pool2d", "reshape2", "transpose2", "slice", "strided_slice", "split", "concat", "scale", "squeeze2"}
    | {"flatten_contiguous_range"}
)
"""Operators across which the passes carry a range over, or might."""
_ACTIVATIONS = frozenset({"relu", "relu6", "hard_swish", "hard_sigmoid", "sigmoid", "swish", "leaky_relu"})
"""What is computed in the same kernel as the convolution before it."""


class Lowering:
    """Translates the operators one by one; `ops` has a function for each kind.

    Args:
        graph: of the float network.
        grids: of the quantized layers, by structured name.
        program: what to write into.

    Attributes:
        target: what the program is for.
        quantized: names of the layers that were written with integers.
    """

    target: ClassVar[str] = "oneDNN"

    def __init__(self, graph: Graph, grids: Mapping[str, LayerGrid], program: Program) -> None:
        self.graph = graph
        self.program = program
        self.batch = graph.shapes[next(op for op in graph.ops if op.name == "data").outputs[0]][0]
        self.quantized: list[str] = []
        self.ops = _without_detours(graph)
        self._grids = grids
        self._names: dict[str, str] = {}
        self._constants: dict[str, np.ndarray] = {}
        self._kinds: dict[str, str] = {program.input: "feed"}
        self._integer: set[str] = set()
        self._rounded: dict[tuple[str, InputGrid], str] = {}
        self._done: set[int] = set()
        self._readers: dict[str, list[Op]] = defaultdict(list)
        self._makers = {output: op for op in self.ops for output in op.outputs}
        for op in self.ops:
            for value in _flat(op.inputs):
                self._readers[value].append(op)
        self._calls = self._numbers()

    def _numbers(self) -> dict[int, int]:
        """Which call of its layer an operator computes."""
        layers, seen = {op.index: self.layer_of(op) for op in self.ops}, Counter()
        numbers = {}
        for index, layer in layers.items():
            numbers[index] = seen[layer]
            seen[layer] += 1
        return numbers

    def layers(self) -> list[str]:
        """The layers that were written with integers, as the model calls them, each once."""
        return list(dict.fromkeys(name.removeprefix("network.") for name in self.quantized))

    def pending(self, op: Op) -> bool:
        """Whether an operator is still to be written; some were folded into one before them."""
        return op.index not in self._done

    def put(self, value: str, name: str) -> None:
        """Say which tensor of the program a value is."""
        self._names[value] = name

    def put_constant(self, value: str, array: np.ndarray) -> None:
        """Say what a value is that does not depend on the input."""
        self._constants[value] = array

    def constant(self, value: str) -> np.ndarray | None:
        """The number a value always has: a parameter, or computed from parameters; None for others."""
        if value in self._constants:
            return self._constants[value]
        name = self.graph.parameters.get(value)
        return None if name is None else self.graph.tensors[name].numpy()

    def name(self, value: str) -> str:
        """The tensor of the program that a value is."""
        if value not in self._names:
            array = self.constant(value)
            if array is None:
                maker = self.graph.makers[value]
                layer = maker.owner.removeprefix("network").removeprefix(".") or "the network"
                raise NoFormError(
                    f"operator {maker.name} in {layer}: has no form for {self.target} where it is used here"
                )
            self._names[value] = self.program.constant(f"constant_{len(self._names)}", array.astype(np.float32))
        return self._names[value]

    def emit(self, kind: str, inputs: Mapping[str, str | list[str]], output: str = "Out", **options: object) -> str:
        """Add an operator with one result and say what wrote it; returns the result's name."""
        (name,) = self.program.add(kind, inputs, output, **options)
        self._kinds[name] = kind
        source = next(iter(inputs.values()), "")
        if kind in _ACTIVATIONS and source in self._integer:
            self._integer.add(name)
        return name

    def emit_many(self, kind: str, inputs: Mapping[str, str], number: int, **options: object) -> list[str]:
        """Add an operator with several results; returns their names."""
        names = self.program.add(kind, inputs, number=number, **options)
        self._kinds.update(dict.fromkeys(names, kind))
        return names

    def maker(self, value: str) -> Op | None:
        """The operator that computes a value."""
        return self._makers.get(value)

    def readers(self, value: str) -> list[Op]:
        """The operators that read a value."""
        return self._readers[value]

    def layer_of(self, op: Op) -> str | None:
        """The quantized layer that an operator computes, or None; its weight may be read by others too."""
        if op.name not in (*CONVOLUTIONS, "matmul") or op.inputs[1] not in self.graph.parameters:
            return None
        return op.owner if op.owner in self._grids else None

    def only_reader(self, value: str) -> Op | None:
        """The one operator that reads a value, or None when there are more, none, or it is the network's output."""
        readers = self._readers[value]
        return readers[0] if len(readers) == 1 and value not in self.graph.outputs else None

    def absorb(self, op: Op) -> None:
        """Leave an operator out, because another one computes it too."""
        self._done.add(op.index)

    def integer_convolution(self, op: Op, value: str, weight: WeightGrid, attributes: Mapping[str, object]) -> str:
        """A convolution with integer weights [out, in / groups, height, width] on the rounded `value`."""
        layer = self.layer_of(op)
        scale = np.broadcast_to(weight.scale * weight.levels, [weight.integers.shape[0]]).astype(np.float32)
        filters = self.rounded_weight(layer, weight.integers, scale)
        source = self.rounded_input(value, self.grid(op).input)
        result = self.emit("conv2d", {"Input": source, "Filter": filters}, "Output", **attributes)
        self._integer.add(result)
        self.quantized.append(layer)
        return result

    def add_bias(self, result: str, bias: np.ndarray) -> str:
        """`result` plus a number per channel, in the same kernel."""
        if not bias.any():
            return result
        operand = self.program.constant("bias", bias.astype(np.float32))
        shifted = self.emit("elementwise_add", {"X": result, "Y": operand}, axis=1)
        self._kinds[shifted] = self._kinds[result]
        if result in self._integer:
            self._integer.add(shifted)
        return shifted

    def grid(self, op: Op) -> LayerGrid | None:
        """The grids of the layer that an operator computes."""
        layer = self.layer_of(op)
        return None if layer is None else self._grids[layer].at(self._calls[op.index])

    def rounded_weight(self, layer: str, integers: np.ndarray, limits: np.ndarray) -> str:
        """The tensor of a weight, [out, in / groups, height, width]: its integers times `limits` / 127, [out]."""
        operands = {
            "X": self.program.constant(f"{layer}.weight", integers),
            "Scale": self.program.constant(f"{layer}.weight_limit", limits),
            "ZeroPoint": self.program.constant(f"{layer}.weight_zero", np.zeros(limits.size, np.int32)),
        }
        return self.emit("dequantize_linear", operands, "Y", **_quantizer(axis=0))

    def rounded_input(self, value: str, grid: InputGrid) -> str:
        """The tensor of a value on its grid; one for all who read it so."""
        key = (value, grid)
        if key not in self._rounded:
            source = self.name(value)
            if grid.clip is not None or not self._may_carry(value, source, grid):
                source = self._copy(source, grid)
            limit = self.program.constant("input_limit", np.array([grid.limit], np.float32))
            operands = {"Scale": limit, "ZeroPoint": self.program.constant("input_zero", np.zeros(1, np.int32))}
            integers = self.emit("quantize_linear", {"X": source, **operands}, "Y", **_quantizer(axis=-1))
            self._rounded[key] = self.emit("dequantize_linear", {"X": integers, **operands}, "Y", **_quantizer(axis=-1))
        return self._rounded[key]

    def _may_carry(self, value: str, source: str, grid: InputGrid) -> bool:
        kind = self._kinds[source]
        # A ReLU6 is known for one only inside a convolution.
        unsigned = kind == "relu" or (kind == "relu6" and source in self._integer)
        if kind in _CARRYING or (grid.unsigned and not unsigned):
            return False
        readers = [self.grid(op) for op in self._readers[value]]
        if source in self._integer:
            return all(reader is not None and reader.input == grid for reader in readers)
        return not any(other == value for other, _ in self._rounded)

    def _copy(self, source: str, grid: InputGrid) -> str:
        if grid.clip is None and grid.unsigned:
            return self.emit("relu", {"X": source})
        high = grid.limit if grid.clip is None else grid.clip
        return self.emit("clip", {"X": source}, min=0.0 if grid.unsigned else -high, max=high)


def check(grids: Mapping[str, LayerGrid], target: str) -> None:
    """Check that a target, by its name, has integers for every quantized layer.

    Raises:
        NoFormError: says which layers it has none for, and why.
    """
    own = [name for name, grid in grids.items() if grid.input is None or grid.weight is None]
    if own:
        raise NoFormError(
            f"{some(own)}: quantized by a class of your own, which {target} does not know; leave it out by skip"
        )
    wide = [name for name, grid in grids.items() if (grid.input.bits, grid.weight.bits) != (_BITS, _BITS)]
    if wide:
        bits = sorted({(grids[name].weight.bits, grids[name].input.bits) for name in wide})
        found = ", ".join(f"{weight}-bit weights and {inputs}-bit activations" for weight, inputs in bits)
        raise NoFormError(f"{some(wide)}: {found}; {target} computes with 8-bit integers only")
    anew = [name for name, grid in grids.items() if grid.input.limit is None]
    if anew:
        raise NoFormError(f"{some(anew)}: finds the range of its input anew for each batch; {target} needs a fixed one")


def _quantizer(axis: int) -> dict[str, int]:
    return {"quant_axis": axis, "bit_length": _BITS, "qmin": -128, "qmax": 127, "round_type": 0}


def _flat(inputs: tuple[str | tuple[str, ...] | None, ...]) -> list[str]:
    values: list[str] = []
    for value in inputs:
        values.extend(value if isinstance(value, tuple) else [] if value is None else [value])
    return values


def _without_detours(graph: Graph) -> list[Op]:
    """The operators without dropout, which does nothing here."""
    aliases: dict[str, str] = {}
    kept = []
    for op in graph.ops:
        inputs = tuple(
            tuple(aliases.get(item, item) for item in value) if isinstance(value, tuple) else aliases.get(value, value)
            for value in op.inputs
        )
        if op.name == "dropout" and op.attrs["mode"] == "upscale_in_train":
            aliases[op.outputs[0]] = inputs[0]
            continue
        kept.append(replace(op, inputs=inputs))
    return kept

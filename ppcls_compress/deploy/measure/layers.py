"""How long single layers take, by their shape: measured, interpolated over channels, and added up for networks."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppcls_compress import io, machine
from ppcls_compress.deploy import fresh
from ppcls_compress.deploy.measure import profile_file
from ppcls_compress.errors import UserError
from ppcls_compress.models.named_outputs import as_deployed
from ppcls_compress.slim import branches
from ppcls_compress.slim.graph import Graph, Op, capture_or_refuse
from ppcls_compress.slim.record import empty_record

RUNTIMES = ("onnxruntime", "openvino")
"""Those whose files a single layer can be written for."""
_FRACTIONS = (0.25, 0.5, 1.0)
_WORKER = "ppcls_compress.deploy.onnx.layers_worker"

Pair = tuple[int, int]


@dataclass(frozen=True)
class Shape:
    """What layers that share a table have in common; they differ in channels.

    Attributes:
        kind: `conv`, `depthwise` or `linear`.
        kernel: height and width; 1 for linear layers.
        stride: of the window, down and across.
        size: height and width of the input; of linear layers how many vectors they read, and 1.
        groups: of a convolution that is not depthwise.
        dilation: of the window, down and across.
        padding: rows and columns of zeros at the top, left, bottom and right.
    """

    kind: str
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    size: tuple[int, int] = (1, 1)
    groups: int = 1
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __str__(self) -> str:
        if self.kind == "linear":
            return "linear" if self.size[0] == 1 else f"linear of {self.size[0]} vectors"
        rows, columns, height, width = *self.kernel, *self.size
        down, across = self.stride
        stride = down if down == across else f"{down}x{across}"
        more = f", {'-'.join(map(str, self.padding))} padded" if any(self.padding) else ""
        more += f", {self.dilation[0]}x{self.dilation[1]} dilated" if self.dilation != (1, 1) else ""
        more += f", in {self.groups} groups" if self.groups > 1 else ""
        return f"{self.kind} {rows}x{columns}/{stride} of {height}x{width}{more}"


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes:
        name: path.
        shape: see `Shape`.
        inputs: channels that it reads.
        outputs: channels that it gives.
    """

    name: str
    shape: Shape
    inputs: int
    outputs: int

    @property
    def weights(self) -> int:
        """How many numbers its weight holds."""
        groups = self.inputs if self.shape.kind == "depthwise" else self.shape.groups
        return math.prod(self.shape.kernel) * self.inputs // groups * self.outputs


@dataclass(frozen=True)
class Times:
    """Milliseconds of a layer, without what calling a network costs.

    Attributes:
        float: computed in float.
        integer: computed with integers, from integers to integers.
        switch: rounding its input, or reading it back.
    """

    float: float
    integer: float
    switch: float


@dataclass(frozen=True)
class Whole:
    """What a whole file takes beside the sum of its layers: `scale` times that sum and `rest` milliseconds.

    Sums, pooling and the call of the network are the rest. Where layers take longer alone than in a network, there is
    none, and `scale` is below 1.
    """

    scale: float = 1.0
    rest: float = 0.0

    @classmethod
    def of(cls, file: float, layers: float) -> Whole:
        """Of a file that takes `file` milliseconds, and its layers alone `layers`."""
        return cls(1.0, file - layers) if file >= layers else cls(file / layers, 0.0)


def layers_of(model: paddle.nn.Layer, image_shape: Sequence[int]) -> list[Layer]:
    """The convolutions and linear layers that a network is deployed with, in the order in which they are computed.

    Branches that are trained apart count as the convolution that they are merged to.

    Raises:
        UserError: the network does not take images of (C, H, W).
    """
    deployed, _ = branches.merged_copy(model, empty_record())
    with as_deployed(deployed):
        graph = capture_or_refuse(deployed, [[1, *image_shape]])
    return [layer for op in graph.ops if (layer := _layer(graph, op)) is not None]


def _layer(graph: Graph, op: Op) -> Layer | None:
    weight = op.inputs[1] if len(op.inputs) > 1 else None
    if weight not in graph.parameters:
        return None
    source, given, held = graph.shapes[op.inputs[0]], graph.shapes[op.outputs[0]], graph.shapes[weight]
    if op.name in ("matmul", "linear"):
        return Layer(op.owner, Shape("linear", size=(math.prod(source[1:-1]), 1)), source[-1], given[-1])
    if op.name not in ("conv2d", "depthwise_conv2d"):
        return None
    groups = int(op.attrs["groups"])
    depthwise = groups > 1 and groups == source[1] == given[1]
    kernel, size, stride, dilation = (
        (int(rows), int(columns))
        for rows, columns in (held[2:], source[2:], op.attrs["strides"], op.attrs["dilations"])
    )
    if op.attrs["padding_algorithm"] == "SAME":
        dilation = (1, 1)  # Paddle's windows are not dilated then, whatever the layer says
    padding = _padding(op, kernel, size, stride)
    kind = "depthwise" if depthwise else "conv"
    shape = Shape(kind, kernel, stride, size, 1 if depthwise else groups, dilation, padding)
    return Layer(op.owner, shape, source[1], given[1])


def _padding(op: Op, kernel: Pair, size: Pair, stride: Pair) -> tuple[int, int, int, int]:
    """Top, left, bottom and right, of any of Paddle's ways to say it."""
    rule, given = op.attrs["padding_algorithm"], [int(count) for count in op.attrs["paddings"]]
    if rule == "VALID":
        return (0, 0, 0, 0)
    if rule == "SAME":
        needed = [
            max(0, (-(-length // step) - 1) * step + window - length)
            for window, length, step in zip(kernel, size, stride, strict=True)
        ]
        return (needed[0] // 2, needed[1] // 2, needed[0] - needed[0] // 2, needed[1] - needed[1] // 2)
    if len(given) == 2:
        return (given[0], given[1], given[0], given[1])
    top, bottom, left, right = given
    return (top, left, bottom, right)


class Table:
    """Measured layers.

    Args:
        about: machine, instruction set, runtime and threads.
        points: shape -> (inputs, outputs) -> times.
        whole: by `float` and `integer`, what files take beside their layers.
    """

    def __init__(
        self,
        about: dict[str, Any],
        points: dict[Shape, dict[tuple[int, int], Times]],
        whole: dict[str, Whole] | None = None,
    ) -> None:
        self.about, self._points, self.whole = about, points, dict(whole or {})

    def times(self, layer: Layer) -> Times:
        """Of one layer, interpolated between measured numbers of channels, first over inputs, then over outputs.

        Raises:
            UserError: no layer of this shape was measured.
        """
        points = self._points.get(layer.shape)
        if points is None:
            raise UserError(
                f"the profile has no layer such as {layer.name}: {layer.shape}; make it with ppcls-compress profile "
                "and this configuration"
            )
        outputs = sorted({pair[1] for pair in points})
        by_output = [self._over_inputs(points, layer.inputs, output) for output in outputs]
        columns = np.array([[times.float, times.integer, times.switch] for times in by_output])
        return Times(*(float(np.interp(layer.outputs, outputs, column)) for column in columns.T))

    @staticmethod
    def _over_inputs(points: dict[tuple[int, int], Times], inputs: int, output: int) -> Times:
        known = sorted((pair[0], times) for pair, times in points.items() if pair[1] == output)
        counts = [count for count, _ in known]
        fields = ([getattr(times, key) for _, times in known] for key in ("float", "integer", "switch"))
        return Times(*(float(np.interp(inputs, counts, column)) for column in fields))

    def predicted(self, layers: Sequence[Layer], quantized: Collection[str] = ()) -> float:
        """Milliseconds of a network of these layers; those in `quantized` compute with integers."""
        whole = self.whole.get("integer" if quantized else "float", Whole())
        times = ((layer, self.times(layer)) for layer in layers)
        total = sum(found.integer if layer.name in quantized else found.float for layer, found in times)
        return whole.scale * total + whole.rest

    def save(self, file: str | Path) -> None:
        """Write JSON."""
        rows = [
            {**asdict(shape), "inputs": inputs, "outputs": outputs, "ms": asdict(times)}
            for shape, points in self._points.items()
            for (inputs, outputs), times in points.items()
        ]
        whole = {key: asdict(found) for key, found in self.whole.items()}
        profile_file.write(file, about=self.about, whole=whole, layers=rows)

    @classmethod
    def load(cls, file: str | Path) -> Table:
        """What `save` wrote.

        Raises:
            UserError: it cannot be read, is no such file, or holds a value that no time can have.
        """
        found = profile_file.read(file)
        points: dict[Shape, dict[tuple[int, int], Times]] = {}
        for row in found.layers:
            shape = Shape(row.kind, row.kernel, row.stride, row.size, row.groups, row.dilation, row.padding)
            points.setdefault(shape, {})[row.inputs, row.outputs] = Times(**row.ms.model_dump())
        return cls(dict(found.about), points, {key: Whole(**own.model_dump()) for key, own in found.whole.items()})


def measure(
    layers: Sequence[Layer], runtime: str, *, threads: int = 1, batch: int = 1, precision: str = "f32"
) -> Table:
    """Time every shape of some layers alone, at a quarter, a half and all of its channels.

    Args:
        batch: images at a time.
        precision: of what is not in integers, as `onnx.runtime.load` has it.

    Raises:
        UserError: no single layers can be timed in this runtime, or one does not run.
    """
    if runtime not in RUNTIMES:
        raise UserError(f"single layers are timed in {' and '.join(RUNTIMES)}, not in {runtime}")
    asked = list(dict.fromkeys(pair for layer in layers for pair in _grid(layer)))
    rows = [{**asdict(shape), "inputs": inputs, "outputs": outputs} for shape, inputs, outputs in asked]
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        asked_for = {"runtime": runtime, "threads": threads, "batch": batch, "precision": precision}
        io.write_json(request, {**asked_for, "layers": rows})
        fresh.run_module(_WORKER, request, answer, threads=threads, folder=folder)
        taken = io.read_json(answer)
    points: dict[Shape, dict[tuple[int, int], Times]] = {}
    for (shape, inputs, outputs), times in zip(asked, taken, strict=True):
        points.setdefault(shape, {})[inputs, outputs] = Times(**times)
    about = {"machine": machine.cpu_name(), "instructions": machine.instructions(), "runtime": runtime}
    return Table({**about, "threads": threads, "batch": batch}, points)


def _grid(layer: Layer) -> list[tuple[Shape, int, int]]:
    """The numbers of channels that a layer is timed with."""

    def some(count: int) -> list[int]:
        step = layer.shape.groups
        return sorted({max(step, round(count * fraction / step) * step) for fraction in _FRACTIONS})

    if layer.shape.kind == "depthwise":
        return [(layer.shape, count, count) for count in some(layer.inputs)]
    inputs = some(layer.inputs) if layer.inputs > 4 else [layer.inputs]  # the image's own channels stay
    return [(layer.shape, one, other) for one in inputs for other in some(layer.outputs)]

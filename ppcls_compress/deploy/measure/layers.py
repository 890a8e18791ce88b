"""How long single layers take, by their shape: measured, interpolated over channels, and added up for networks."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppcls_compress import io
from ppcls_compress.deploy import fresh
from ppcls_compress.deploy.measure import machine
from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import Graph, Op, capture_or_refuse

RUNTIMES = ("onnxruntime", "openvino")
"""Those whose files a single layer can be written for."""
_FRACTIONS = (0.25, 0.5, 1.0)
_VERSION = 1
_WORKER = "ppcls_compress.deploy.onnx.layers_worker"


@dataclass(frozen=True)
class Shape:
    """What layers that share a table have in common; they differ in channels.

    Attributes:
        kind: `conv`, `depthwise` or `linear`.
        kernel: height and width; 1 for linear layers.
        stride: of the window.
        size: height and width of the input; 1 for linear layers.
        groups: of a convolution that is not depthwise.
    """

    kind: str
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    size: tuple[int, int] = (1, 1)
    groups: int = 1

    def __str__(self) -> str:
        if self.kind == "linear":
            return "linear"
        groups = f" in {self.groups} groups" if self.groups > 1 else ""
        rows, columns, height, width = *self.kernel, *self.size
        return f"{self.kind} {rows}x{columns}/{self.stride} of {height}x{width}{groups}"


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


def layers_of(model: paddle.nn.Layer, image_shape: Sequence[int]) -> list[Layer]:
    """The convolutions and linear layers of a network, in the order in which they are computed.

    Raises:
        UserError: the network does not take images of (C, H, W).
    """
    graph = capture_or_refuse(model, [[1, *image_shape]])
    return [layer for op in graph.ops if (layer := _layer(graph, op)) is not None]


def _layer(graph: Graph, op: Op) -> Layer | None:
    weight = op.inputs[1] if len(op.inputs) > 1 else None
    if weight not in graph.parameters:
        return None
    source, given, held = graph.shapes[op.inputs[0]], graph.shapes[op.outputs[0]], graph.shapes[weight]
    if op.name in ("matmul", "linear"):
        return Layer(op.owner, Shape("linear"), source[-1], given[-1])
    if op.name not in ("conv2d", "depthwise_conv2d"):
        return None
    groups = int(op.attrs["groups"])
    depthwise = groups > 1 and groups == source[1] == given[1]
    kind = "depthwise" if depthwise else "conv"
    shape = Shape(kind, tuple(held[2:]), int(op.attrs["strides"][0]), tuple(source[2:]), 1 if depthwise else groups)
    return Layer(op.owner, shape, source[1], given[1])


class Table:
    """Measured layers.

    Args:
        about: machine, instruction set, runtime and threads.
        points: shape -> (inputs, outputs) -> times.
        rest: by `float` and `integer`, milliseconds of a whole file beyond the sum of its layers.
    """

    def __init__(
        self,
        about: dict[str, Any],
        points: dict[Shape, dict[tuple[int, int], Times]],
        rest: dict[str, float] | None = None,
    ) -> None:
        self.about, self._points, self.rest = about, points, dict(rest or {})

    def times(self, layer: Layer) -> Times:
        """Of one layer, interpolated between measured numbers of channels, first over inputs, then over outputs.

        Raises:
            UserError: no layer of this shape was measured.
        """
        points = self._points.get(layer.shape)
        if points is None:
            raise UserError(
                f"the profile has no layer such as {layer.name}: {layer.shape}; make it with tools/profile.py and this "
                "configuration"
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
        rest = self.rest.get("integer" if quantized else "float", 0.0)
        times = ((layer, self.times(layer)) for layer in layers)
        return rest + sum(found.integer if layer.name in quantized else found.float for layer, found in times)

    def save(self, file: str | Path) -> None:
        """Write JSON."""
        rows = [
            {**asdict(shape), "inputs": inputs, "outputs": outputs, "ms": asdict(times)}
            for shape, points in self._points.items()
            for (inputs, outputs), times in points.items()
        ]
        io.write_json(file, {"version": _VERSION, "about": self.about, "rest": self.rest, "layers": rows})

    @classmethod
    def load(cls, file: str | Path) -> Table:
        """What `save` wrote.

        Raises:
            UserError: it cannot be read, or is no such file.
        """
        found = io.read_json(file)
        try:
            if found["version"] != _VERSION:
                raise UserError(f"{file}: version {found['version']!r} of a profile; {_VERSION} is known here")
            points: dict[Shape, dict[tuple[int, int], Times]] = {}
            for row in found["layers"]:
                shape = Shape(row["kind"], tuple(row["kernel"]), row["stride"], tuple(row["size"]), row["groups"])
                points.setdefault(shape, {})[row["inputs"], row["outputs"]] = Times(**row["ms"])
            return cls(dict(found["about"]), points, dict(found["rest"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file}: is no profile that tools/profile.py wrote") from error


def measure(layers: Sequence[Layer], runtime: str, *, threads: int = 1) -> Table:
    """Time every shape of some layers alone, at a quarter, a half and all of its channels.

    Raises:
        UserError: no single layers can be timed in this runtime, or one does not run.
    """
    if runtime not in RUNTIMES:
        raise UserError(f"single layers are timed in {' and '.join(RUNTIMES)}, not in {runtime}")
    asked = list(dict.fromkeys(pair for layer in layers for pair in _grid(layer)))
    rows = [{**asdict(shape), "inputs": inputs, "outputs": outputs} for shape, inputs, outputs in asked]
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        io.write_json(request, {"runtime": runtime, "threads": threads, "layers": rows})
        fresh.run_module(_WORKER, request, answer, threads=threads, folder=folder)
        taken = io.read_json(answer)
    points: dict[Shape, dict[tuple[int, int], Times]] = {}
    for (shape, inputs, outputs), times in zip(asked, taken, strict=True):
        points.setdefault(shape, {})[inputs, outputs] = Times(**times)
    about = {"machine": machine.cpu_name(), "instructions": machine.instructions(), "runtime": runtime}
    return Table({**about, "threads": threads}, points)


def _grid(layer: Layer) -> list[tuple[Shape, int, int]]:
    """The numbers of channels that a layer is timed with."""

    def some(count: int) -> list[int]:
        step = layer.shape.groups
        return sorted({max(step, round(count * fraction / step) * step) for fraction in _FRACTIONS})

    if layer.shape.kind == "depthwise":
        return [(layer.shape, count, count) for count in some(layer.inputs)]
    inputs = some(layer.inputs) if layer.inputs > 4 else [layer.inputs]  # the image's own channels stay
    return [(layer.shape, one, other) for one in inputs for other in some(layer.outputs)]

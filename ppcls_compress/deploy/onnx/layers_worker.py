"""The process that times single layers: `python -m ppcls_compress.deploy.onnx.layers_worker REQUEST ANSWER`.

Each layer is an ONNX file of its own, once in float and once with its weight, input and output rounded.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ppcls_compress import io
from ppcls_compress.deploy.onnx import runtime

_WARM, _ROUNDS, _RUNS = 3, 5, 4
_OPSET = 13
_LEAST, _LEAST_SHARE = 1e-4, 0.02
"""Milliseconds, and share of what its file takes: what is left of a layer that takes no longer than the call of a
network seemed to. On a busy machine that can be any layer, and what it takes is never nothing."""


def main(request: Path, answer: Path) -> None:
    """Time the layers of a request."""
    asked = io.read_json(request)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked["threads"]])
    with tempfile.TemporaryDirectory() as folder:
        load = partial(runtime.load, runtime=asked["runtime"], threads=asked["threads"], precision=asked["precision"])
        timer = _Timer(Path(folder) / "layer.onnx", load, asked["batch"])
        io.write_json(answer, [timer.times(row) for row in asked["layers"]])


class _Timer:
    """Times small networks in one runtime."""

    def __init__(self, file: Path, load: Callable[[Path], runtime.Session], batch: int) -> None:
        self._file, self._load, self._batch = file, load, batch
        self._call = self._taken(_written([helper.make_node("Relu", ["x"], ["y"])], [], [1, 1, 1, 1]), [1, 1, 1, 1])
        self._switches: dict[tuple[int, ...], float] = {}

    def times(self, row: dict[str, Any]) -> dict[str, float]:
        """Milliseconds in float, in integers, and of rounding the input."""
        shape = [self._batch, row["inputs"], *row["size"]]
        plain = self._taken(_layer(row, shape, integers=False), shape) - self._call
        rounded = self._taken(_layer(row, shape, integers=True), shape) - self._call
        switch = self._switch(shape)
        return {
            "float": self._least(plain, plain),
            "integer": self._least(rounded - switch, rounded),  # within a network it reads integers
            "switch": self._least(switch, switch),
        }

    def _least(self, taken: float, file: float) -> float:
        return max(taken, _LEAST_SHARE * (file + self._call), _LEAST)

    def _switch(self, shape: list[int]) -> float:
        if tuple(shape) not in self._switches:
            nodes, constants = _rounding("x", "y", "in")
            self._switches[tuple(shape)] = self._taken(_written(nodes, constants, shape), shape) - self._call
        return self._switches[tuple(shape)]

    def _taken(self, model: onnx.ModelProto, shape: list[int]) -> float:
        onnx.save(model, self._file)
        session = self._load(self._file)
        images = np.random.default_rng(0).standard_normal(shape, np.float32)
        for _ in range(_WARM):
            session.run(images)
        best = []
        for _ in range(_ROUNDS):
            begun = time.perf_counter()
            for _ in range(_RUNS):
                session.run(images)
            best.append(1000 * (time.perf_counter() - begun) / _RUNS)
        return min(best)  # whatever else the machine does only adds


def _layer(row: dict[str, Any], shape: list[int], *, integers: bool) -> onnx.ModelProto:
    inputs, outputs, groups = row["inputs"], row["outputs"], row["groups"]
    groups = inputs if row["kind"] == "depthwise" else groups
    held = [outputs, inputs // groups, *row["kernel"]]
    weight = np.random.default_rng(1).integers(-127, 128, held, dtype=np.int8)
    bias = numpy_helper.from_array(np.zeros(outputs, np.float32), "b")
    nodes, constants, source, factor = [], [bias], "x", "w"
    if integers:
        more, numbers = _rounding("x", "x.rounded", "in")
        scale = numpy_helper.from_array(np.full(outputs, 0.01, np.float32), "w.scale")
        zero = numpy_helper.from_array(np.zeros(outputs, np.int8), "w.zero")
        more.append(helper.make_node("DequantizeLinear", ["w.integers", "w.scale", "w.zero"], ["w"], axis=0))
        nodes, constants = more, [bias, *numbers, scale, zero, numpy_helper.from_array(weight, "w.integers")]
        source = "x.rounded"
    else:
        constants.append(numpy_helper.from_array(weight.astype(np.float32) * 0.01, "w"))
    window = {"pads": row["padding"], "strides": row["stride"], "dilations": row["dilation"], "group": groups}
    nodes.append(helper.make_node("Conv", [source, factor, "b"], ["conv"], kernel_shape=row["kernel"], **window))
    nodes.append(helper.make_node("Relu", ["conv"], ["relu" if integers else "y"]))
    if integers:
        more, numbers = _rounding("relu", "y", "out")
        nodes, constants = nodes + more, constants + numbers
    return _written(nodes, constants, shape)


def _rounding(source: str, target: str, name: str) -> tuple[list[Any], list[Any]]:
    """A pair that rounds a tensor, and its constants."""
    constants = [
        numpy_helper.from_array(np.array(0.02, np.float32), f"{name}.scale"),
        numpy_helper.from_array(np.array(128 if name == "in" else 0, np.uint8), f"{name}.zero"),
    ]
    parts = [f"{name}.scale", f"{name}.zero"]
    nodes = [
        helper.make_node("QuantizeLinear", [source, *parts], [f"{name}.integers"]),
        helper.make_node("DequantizeLinear", [f"{name}.integers", *parts], [target]),
    ]
    return nodes, constants


def _written(nodes: list[Any], constants: list[Any], shape: list[int]) -> onnx.ModelProto:
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    target = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)
    graph = helper.make_graph(nodes, "layer", [source], [target], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""A model of any origin whose layers round or not, each by itself: what an analysis of quantization asks a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping

import numpy as np
import onnx_ir as ir
import paddle

from ppcls_compress.deploy.imported.network import FloatNetwork
from ppcls_compress.deploy.onnx import graph, layered, layers, place_openvino
from ppcls_compress.deploy.onnx.calibrated import Fitted
from ppcls_compress.deploy.onnx.weights import WEIGHTED
from ppcls_compress.slim import quant
from ppcls_compress.slim.quant import inference

_FATAL_ONLY = 4
_Session = Callable[[Collection[str], np.ndarray], tuple[np.ndarray, dict[str, np.ndarray]]]


class Played(paddle.nn.Layer):
    """The calibrated layers of a model.

    A forward pass computes the graph in ONNX Runtime, those layers rounded that are `quantizing`, and calls each layer
    that somebody watches with what it reads there.

    Args:
        model: in float.
        fitted: its layers, of a copy of its graph.
    """

    def __init__(self, model: FloatNetwork, fitted: Fitted) -> None:
        super().__init__()
        self._found = quant.quant_layers(fitted.network)
        for name, layer in self._found.items():
            self.add_sublayer(name, layer)
        self._model, self._fitted = model, fitted
        self._grids = inference.grids(fitted.network)
        self._biases = {name: layer.bias.numpy() for name, layer in self._found.items() if layer.bias is not None}
        self._sessions: dict[frozenset[str], _Session] = {}

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Images [N, C, H, W] to logits or features [N, classes]."""
        rounded = frozenset(name for name, layer in self._found.items() if layer.quantizing)
        if rounded not in self._sessions:
            self._sessions = {rounded: self._session(rounded)}
        watched = [name for name, layer in self._found.items() if layer._forward_pre_hooks]
        answer, read = self._sessions[rounded](watched, images.numpy())
        for name in watched:
            layered.show(self._found[name], read[name])
        return paddle.to_tensor(answer)

    def _session(self, rounded: Collection[str]) -> _Session:
        """What runs the model with pairs before these layers, and their weights and biases."""
        network = graph.copied(self._model.graph)
        weighted = [node for node in network.graph if node.op_type in WEIGHTED]
        by_weight = {node.inputs[1].name: node.inputs[0] for node in weighted}
        read = {name: by_weight[weight] for weight, name in self._fitted.names.items()}
        names = {weight: name for weight, name in self._fitted.names.items() if name in rounded}
        nodes = layers.match(network, self._fitted.folded, names, self._grids, {}).nodes
        for item in nodes:
            if item.name in self._biases:
                layered.set_bias(item.node, self._biases[item.name])
        place_openvino.place(nodes)
        return _session(network, read)


def _session(model: ir.Model, read: Mapping[str, ir.Value]) -> _Session:
    """What runs a graph: names of layers and images to the answer and what these layers read, before it is rounded."""
    import onnxruntime

    image, answer = model.graph.inputs[0], model.graph.outputs[0]
    for value in dict.fromkeys(read.values()):
        if value not in (image, answer):
            value.type = ir.TensorType(ir.DataType.FLOAT)
            model.graph.outputs.append(value)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    # Beyond that pairs become integer kernels, whose ties are not those of the layers.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    content = graph.to_proto(model).SerializeToString()  # gives the tensors the names that they have from now on
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(watched: Collection[str], images: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        wanted = [name for name in dict.fromkeys(read[layer].name for layer in watched) if name != image.name]
        found = session.run([answer.name, *wanted], {image.name: images})
        tensors = {image.name: images, **dict(zip(wanted, found[1:], strict=True))}
        return found[0], {layer: tensors[read[layer].name] for layer in watched}

    return run

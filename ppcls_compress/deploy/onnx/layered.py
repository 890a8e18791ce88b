"""The weighted nodes of a tidied float graph as Paddle's layers, so that what quantizes a network quantizes a graph.

`slim.quant` chooses, calibrates and corrects layers; it needs no more of a network than that a forward pass shows each
layer what it reads. Here ONNX Runtime computes the graph, with what its weighted nodes read as further outputs.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import paddle

from ppcls_compress.deploy.onnx.graph import (
    add_constant,
    constant,
    copied,
    insert_after,
    only_reader,
    redirect,
    sweep,
    to_proto,
)
from ppcls_compress.deploy.onnx.weights import WEIGHTED, Folded

_FATAL_ONLY = 4
_SPATIAL = {"strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0]}
_BARE = paddle.nn.Layer()
"""What has the attributes that a layer's name would hide, `training` or `forward`."""
_SUFFIX = re.compile(r"[._](weight|w_0|kernel|W)(\.turned)?$")


@dataclass(frozen=True, eq=False)
class Layered:
    """A graph and its layers.

    Attributes:
        network: the layers under their names; a forward pass on images [N, C, H, W] shows each what it reads.
        nodes: the node of each layer.
        floats: a line for each node with a weight that is no layer here, and why.
    """

    network: paddle.nn.Layer
    nodes: Mapping[str, ir.Node]
    floats: list[str]

    def take_biases(self) -> None:
        """Give the nodes the biases of their layers, in place; calibration may have corrected them."""
        layers = dict(self.network.named_sublayers())
        for name, node in self.nodes.items():
            if layers[name].bias is not None:
                set_bias(node, layers[name].bias.numpy())


def layered(model: ir.Model, folded: Mapping[str, Folded]) -> Layered:
    """The layers of a graph.

    Args:
        model: tidied; not changed. It must stay as it is until the last forward pass.
        folded: what `simplify` returned.
    """
    nodes, found, floats = {}, {}, []
    for node in model.graph:
        if node.op_type not in WEIGHTED:
            continue
        origin = folded.get(node.inputs[1].name)
        reason = "its weight is computed" if origin is None else _misfit(node)
        name = _name(node, origin, taken=nodes)
        if reason is None:
            nodes[name], found[name] = node, _layer(node)
        else:
            floats.append(f"{name}: {node.op_type} stays float: {reason}")
    return Layered(_Fed(model, nodes, found), nodes, floats)


def normalize_products(model: ir.Model) -> None:
    """Write every `Gemm` of a constant as x @ weight + bias, in place: as PyTorch exports it, the weight is turned."""
    for node in [node for node in model.graph if node.op_type == "Gemm"]:
        weight = constant(node.inputs[1])
        if weight is not None and node.attributes.get_int("transB", 0):
            name = node.inputs[1].name
            turned = add_constant(model.graph, f"{name}.turned", np.ascontiguousarray(weight.T))
            node.replace_input_with(1, turned)
            node.attributes["transB"] = ir.AttrInt64("transB", 0)
    sweep(model)


class _Fed(paddle.nn.Layer):
    """Layers that are given what their nodes read."""

    def __init__(self, model: ir.Model, nodes: Mapping[str, ir.Node], found: Mapping[str, paddle.nn.Layer]) -> None:
        super().__init__()
        for name, layer in found.items():
            self.add_sublayer(name, layer)
        self._reads = {name: node.inputs[0].name for name, node in nodes.items()}
        self._input = model.graph.inputs[0].name
        self._run = _reader(model, list(dict.fromkeys(self._reads.values())))

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Images [N, C, H, W]; what the graph answers to them in float."""
        read, answer = self._run(images.numpy())
        for name, tensor in self._reads.items():
            show(getattr(self, name), read[tensor])
        return paddle.to_tensor(answer)


class _ShownError(Exception):
    """All who watch a layer have seen its input; what it gives, the graph has computed already."""


def show(layer: paddle.nn.Layer, x: np.ndarray) -> None:
    """Let those who watch a layer, by hooks before its forward pass, see its input, without computing the layer."""

    def stop(*_: Any) -> None:
        raise _ShownError

    last = layer.register_forward_pre_hook(stop)
    try:
        with contextlib.suppress(_ShownError):
            layer(paddle.utils.dlpack.from_dlpack(x.__dlpack__()))  # without the copy that to_tensor makes
    finally:
        last.remove()


def _reader(model: ir.Model, names: list[str]) -> Any:
    """A function of images: the tensors of these names, and the answer."""
    import onnxruntime

    watched = copied(model)
    values = ir.convenience.create_value_mapping(watched.graph)
    image, answer = watched.graph.inputs[0].name, watched.graph.outputs[0].name
    inner = [name for name in names if name not in (image, answer)]
    for name in inner:
        values[name].type = ir.TensorType(ir.DataType.FLOAT)
        watched.graph.outputs.append(values[name])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    # Between two batches others compute, and threads that wait for the next one by spinning would take their time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _FATAL_ONLY
    session = onnxruntime.InferenceSession(
        to_proto(watched).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def read(images: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        answered, *found = session.run([answer, *inner], {image: images})
        return {image: images, answer: answered, **dict(zip(inner, found, strict=True))}, answered

    return read


def _name(node: ir.Node, origin: Folded | None, taken: Mapping[str, ir.Node]) -> str:
    """After the weight, or the node where the exporter gave the weight a number."""
    weight = node.inputs[1].name if origin is None else origin.parameter
    stem = _SUFFIX.sub("", weight) if "::" not in weight and not weight.isdecimal() else node.name or weight
    stem = re.sub(r"\W+", "_", stem).strip("_") or node.op_type
    name, number = stem, 1
    while name in taken or hasattr(_BARE, name):
        name, number = f"{stem}_{number}", number + 1
    return name


def _misfit(node: ir.Node) -> str | None:
    """Why a node is none of Paddle's layers, or None."""
    rank = constant(node.inputs[1]).ndim
    if constant(node.inputs[1]).dtype != np.float32:
        return f"its weight is {constant(node.inputs[1]).dtype}"
    if node.op_type in ("Gemm", "MatMul"):
        factors = [node.attributes.get_float(name, 1.0) for name in ("alpha", "beta")]
        if rank != 2 or factors != [1.0, 1.0] or node.attributes.get_int("transA", 0):
            return "it is more than a product and a sum"
    elif rank != 4:
        return f"it convolves {rank - 2} dimensions, not 2"
    elif node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return f"its padding depends on the image ({node.attributes.get_string('auto_pad', '')})"
    elif node.op_type == "ConvTranspose" and "output_shape" in node.attributes:
        return "it has an output_shape of its own"
    if len(node.inputs) > 2 and node.inputs[2] is not None and constant(node.inputs[2]) is None:
        return "its bias is computed"
    return None


def _layer(node: ir.Node) -> paddle.nn.Layer:
    weight = constant(node.inputs[1])
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    if node.op_type in ("Gemm", "MatMul"):
        layer = paddle.nn.Linear(*weight.shape, bias_attr=None if bias is not None else False)
    else:
        layer = _convolution(node, weight.shape, bias is not None)
    layer.weight.set_value(weight)
    if bias is not None:
        layer.bias.set_value(np.broadcast_to(bias.reshape(-1), layer.bias.shape).astype(np.float32))
    layer.eval()
    return layer


def _convolution(node: ir.Node, shape: tuple[int, ...], biased: bool) -> paddle.nn.Layer:
    stride, dilation, pads = (
        list(node.attributes.get_ints(name, default)) if name in node.attributes else default
        for name, default in _SPATIAL.items()
    )
    groups = node.attributes.get_int("group", 1)
    settings = {
        "kernel_size": list(shape[2:]),
        "stride": stride,
        "padding": [pads[0], pads[2], pads[1], pads[3]],  # ONNX has both beginnings first, Paddle both ends of an axis
        "dilation": dilation,
        "groups": groups,
        "bias_attr": None if biased else False,
    }
    if node.op_type == "Conv":
        return paddle.nn.Conv2D(shape[1] * groups, shape[0], **settings)
    extra = list(node.attributes.get_ints("output_padding", [0, 0])) if "output_padding" in node.attributes else 0
    return paddle.nn.Conv2DTranspose(shape[0], shape[1] * groups, output_padding=extra, **settings)


def set_bias(node: ir.Node, bias: np.ndarray) -> None:
    """Give a node a bias, float32 [channels], in place of its own."""
    if node.op_type != "MatMul":
        node.resize_inputs(3)
        node.replace_input_with(2, add_constant(node.graph, f"{node.inputs[1].name}.corrected", bias))
        return
    if not bias.any():
        return
    product = node.outputs[0]
    stored = add_constant(node.graph, f"{node.inputs[1].name}.corrected", bias)
    reader = only_reader(product)
    total = insert_after(product, "Add", [product, stored], f"{product.name}.corrected")
    total.shape, total.type = product.shape, product.type
    redirect(product, total, None if reader is None else [reader])

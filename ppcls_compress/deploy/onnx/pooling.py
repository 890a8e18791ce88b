"""Average pooling on integers: a convolution of each channel by itself, all of whose weights are one.

Neither ONNX Runtime nor OpenVINO has an integer kernel for average pooling between two rounded tensors: both turn the
input to float, pool, and round again. Their convolutions have one.
"""

from __future__ import annotations

import numpy as np

from ppcls_compress.deploy.onnx.graph import Graph, Node, tensor_shapes
from ppcls_compress.deploy.onnx.qdq import quantize_weight

_COMPUTED_ALONG = ("Relu", "Clip")


def convolve(graph: Graph) -> None:
    """Turn average pooling between two pairs into convolutions, in place; the average is the same.

    Pooling with windows that reach over the border stays: what they divide by is not the size of the kernel.
    """
    pools = [node for node in graph.nodes if node.op == "AveragePool" and _between_pairs(graph, node)]
    shapes = tensor_shapes(graph) if pools else {}
    for node in pools:
        before, after = (shapes.get(name, ()) for name in (node.inputs[0], node.output))
        if len(before) == len(after) == 4 and _whole_windows(node, before[2:], after[2:]):
            _convolve(graph, node, before[1])


def _between_pairs(graph: Graph, node: Node) -> bool:
    source, reader = graph.producer(node.inputs[0]), graph.only_reader(node.output)
    if reader is not None and reader.op in _COMPUTED_ALONG:
        reader = graph.only_reader(reader.output)
    ends = (source is not None and source.op, reader is not None and reader.op)
    return ends == ("DequantizeLinear", "QuantizeLinear")


def _whole_windows(node: Node, before: tuple[int | str, ...], after: tuple[int | str, ...]) -> bool:
    """Whether no window is padded or cut: then there are as many as fit into the image."""
    kernel = node.attributes["kernel_shape"]
    strides = node.attributes.get("strides", [1] * len(kernel))
    known = all(isinstance(size, int) and size > 0 for size in (*before, *after))
    if not known or any(node.attributes.get("pads", ())):
        return False
    fitting = [(size - span) // step + 1 for size, span, step in zip(before, kernel, strides, strict=True)]
    return fitting == list(after)


def _convolve(graph: Graph, node: Node, channels: int) -> None:
    kernel = node.attributes["kernel_shape"]
    ones = np.ones((channels, 1, *kernel), np.int8)
    # Ones, and not the largest integers: kernels without VNNI add two products in 16 bits, where 255 * 127 twice
    # would not fit.
    scale = np.full(channels, 1 / np.prod(kernel), np.float32)
    strides = node.attributes.get("strides", [1] * len(kernel))
    node.op, node.attributes = "Conv", {"kernel_shape": kernel, "strides": strides, "group": channels}
    graph.set_input(node, 1, graph.add_constant(f"{node.output}.average", ones))
    quantize_weight(graph, node, ones, scale, axis=0)

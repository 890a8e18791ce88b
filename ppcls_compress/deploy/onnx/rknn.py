"""Rules of RKNN-Toolkit2, which brings ONNX files to Rockchip's NPUs.

Its list of operators (`RKNNToolKit2_OP_Support`, version 2.1.0) and its changelog: operator sets 12 to 19, 8-bit
integers with a scale for each output channel of a weight, and for several operators a batch of one image. Zero points
are 0 here, which any of its grids holds.
"""

from __future__ import annotations

import onnx_ir as ir

from ppcls_compress.deploy.onnx import place_qdq

_OPERATORS = frozenset(
    {"Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant"}
    | {"ConstantOfShape", "Conv", "ConvTranspose", "Cos", "DepthToSpace", "DequantizeLinear", "Div", "Dropout", "Elu"}
    | {"Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "Gemm", "GlobalAveragePool"}
    | {"GlobalMaxPool", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization"}
    | {"LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "LpNormalization", "LRN"}
    | {"MatMul", "Max", "MaxPool", "MeanVarianceNormalization", "Min", "Mish", "Mod", "Mul", "Pad", "Pow", "PRelu"}
    | {"QuantizeLinear", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Resize", "Shape"}
    | {"Sigmoid", "Sin", "Size", "Slice", "Softmax", "Softplus", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub"}
    | {"Tanh", "Tile", "Transpose", "Unsqueeze", "Where"}
)
_OPERATOR_SETS = range(12, 20)
_RESIZING = ("nearest", "linear")
_BATCH = 1


def prepare(model: ir.Model) -> list[str]:
    """Write down a batch of one image, in place, and say how the toolkit reads the file."""
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.shape = ir.Shape([_BATCH, *list(value.shape)[1:]])
    return [
        "RKNN-Toolkit2 reads it by rknn.load_onnx(model='model.onnx') and rknn.build(do_quantization=False), without "
        "mean_values and std_values: images come normalized as inference.yml says"
    ]


def check(model: ir.Model) -> list[str]:
    """What breaks the rules, a line each; none if all is well."""
    found = place_qdq.check(model)
    versions = [version for domain, version in model.opset_imports.items() if domain in ("", "ai.onnx")]
    if not versions or any(version not in _OPERATOR_SETS for version in versions):
        found.append(f"operator set {versions}: {_OPERATOR_SETS[0]} to {_OPERATOR_SETS[-1]} are read")
    for value in model.graph.inputs:
        sizes = [size if isinstance(size, int) else "?" for size in value.shape or ["?"]]
        if "?" in sizes or sizes[0] != _BATCH:
            found.append(f"{value.name}: has the shape {sizes}; a batch of {_BATCH} and fixed sizes are needed")
    for node in model.graph:
        name = node.outputs[0].name
        if node.op_type not in _OPERATORS or node.domain not in ("", "ai.onnx"):
            found.append(f"{name}: operator {node.op_type} is none that RKNN-Toolkit2 has")
        if node.op_type == "Resize" and node.attributes.get_string("mode", "nearest") not in _RESIZING:
            found.append(
                f"{name}: resizes by {node.attributes.get_string('mode')}; {' and '.join(_RESIZING)} are there"
            )
    return found

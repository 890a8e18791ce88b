"""Rules of Paddle Lite for quantized programs.

Its list of operators (`support_operation_list`, of version 2.12, the additional ones included), and what its pass
`lite_quant_dequant_fuse_pass` looks for: a fake quantizer of 8 bits on the input of a quantized operator, with one
range above 0 that is known before the program runs, and one on its weight, with a range above 0 for each output channel
along axis 0 of a convolution. Zero is always the integer 0.
"""

from __future__ import annotations

import numpy as np
from paddle.base import core

from ppcls_compress.deploy.paddle.onednn_program import Program

BITS, LEVELS = 8, 127
INPUT, WEIGHT = "fake_quantize_dequantize_moving_average_abs_max", "fake_channel_wise_quantize_dequantize_abs_max"
_WEIGHTED = {"conv2d": ("Input", "Filter"), "depthwise_conv2d": ("Input", "Filter")}
_OPERATORS = frozenset(
    {"feed", "fetch", INPUT, WEIGHT, "batch_norm", "bilinear_interp_v2", "clip", "concat", "conv2d", "depthwise_conv2d"}
    | {"dropout", "elementwise_add", "elementwise_div", "elementwise_max", "elementwise_min", "elementwise_mul"}
    | {"elementwise_sub", "exp", "fill_any_like", "fill_constant", "fill_constant_batch_size_like", "flatten"}
    | {"flatten2", "flatten_contiguous_range", "gelu", "hard_sigmoid", "hard_swish", "layer_norm", "leaky_relu"}
    | {"matmul", "matmul_v2", "mul", "nearest_interp_v2", "pad2d", "pad3d", "pool2d", "prelu", "reduce_max"}
    | {"reduce_mean", "reduce_sum", "relu", "relu6", "reshape", "reshape2", "scale", "sigmoid", "slice", "softmax"}
    | {"split", "squeeze", "squeeze2", "strided_slice", "swish", "tanh", "transpose", "transpose2", "unsqueeze"}
    | {"unsqueeze2"}
)


def check(program: Program) -> list[str]:
    """What breaks the rules, a line each; none if all is well."""
    operators = program.operators()
    makers = {name: op for op in operators for name in op.output_arg_names()}
    found = []
    for op in operators:
        if op.type() not in _OPERATORS:
            found.append(f"{op.output_arg_names()[0]}: operator {op.type()} is none that Paddle Lite has")
        if op.type() in (INPUT, WEIGHT):
            found += _of_quantizer(program, op)
        if op.type() in _WEIGHTED:
            found += _of_weighted(program, op, makers)
    return found


def _of_quantizer(program: Program, op: core.OpDesc) -> list[str]:
    source, bits = op.input("X")[0], op.attr("bit_length")
    name = source.removeprefix("network.")
    found = [] if bits == BITS else [f"{name}: is rounded to {bits} bits; {BITS} are needed"]
    slot = "OutScale" if op.type() == WEIGHT else "InScale"
    ends = program.value(op.input(slot)[0] if slot == "InScale" else op.output(slot)[0])
    if ends is None:
        return [*found, f"{name}: its range is computed, and has to be a constant"]
    if not (np.isfinite(ends) & (ends > 0)).all():
        found.append(f"{name}: its range is not above 0")
    if op.type() == INPUT:
        found += [] if op.attr("is_test") else [f"{name}: its range would follow the data; is_test is needed"]
        found += [] if ends.size == 1 else [f"{name}: has {ends.size} ranges; a tensor has one"]
        return found
    weight = program.value(source)
    if weight is None:
        return [*found, f"{name}: is rounded as a weight, and is computed"]
    if op.attr("quant_axis") != 0 or ends.size != weight.shape[0]:
        told = f"{ends.size} ranges along axis {op.attr('quant_axis')}; {weight.shape[0]} along axis 0 are needed"
        found.append(f"{name}: has {told}")
    return found


def _of_weighted(program: Program, op: core.OpDesc, makers: dict[str, core.OpDesc]) -> list[str]:
    kinds = [makers[op.input(slot)[0]].type() if op.input(slot)[0] in makers else "" for slot in _WEIGHTED[op.type()]]
    rounded = [kind == wanted for kind, wanted in zip(kinds, (INPUT, WEIGHT), strict=True)]
    if any(rounded) and not all(rounded):
        what = "weight is rounded, what it reads is not" if rounded[1] else "input is rounded, its weight is not"
        return [f"{op.output_arg_names()[0]}: its {what}"]
    return []

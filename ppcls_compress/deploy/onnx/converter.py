"""The process that calls paddle2onnx.

`python -m ppcls_compress.deploy.onnx.converter convert PREFIX OPSET` writes PREFIX.onnx from PREFIX.json;
`... explain PREFIX` writes PREFIX.operators: the names of the network's operators, and whether paddle2onnx lists each.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ppcls_compress import io
from ppcls_compress.errors import UserError

_NO_OPERATION = ("data", "feed", "fetch", "full", "full_int_array", "shadow_feed")
# What paddle2onnx lists under the names of Paddle 2.
_OLD_NAMES = {
    "add": "elementwise_add",
    "divide": "elementwise_div",
    "expand": "expand_v2",
    "flatten": "flatten_contiguous_range",
    "hardsigmoid": "hard_sigmoid",
    "hardswish": "hard_swish",
    "matmul": "matmul_v2",
    "max": "reduce_max",
    "maximum": "elementwise_max",
    "mean": "reduce_mean",
    "min": "reduce_min",
    "minimum": "elementwise_min",
    "multiply": "elementwise_mul",
    "subtract": "elementwise_sub",
    "sum": "reduce_sum",
    "topk": "top_k_v2",
    "unsqueeze": "unsqueeze2",
}


def _convert(prefix: str, opset: str) -> None:
    import paddle2onnx

    # Any other choice of tool tidies the graph with a package that installs what it misses.
    files = (f"{prefix}.json", f"{prefix}.pdiparams", f"{prefix}.onnx")
    paddle2onnx.export(*files, opset_version=int(opset), optimize_tool=None)
    if not Path(f"{prefix}.onnx").is_file():
        raise UserError("paddle2onnx wrote no model")


def _explain(prefix: str) -> None:
    import paddle
    from paddle2onnx.paddle2onnx_cpp2py_export import get_all_supported_operators_pir

    known = set(get_all_supported_operators_pir())
    network = paddle.jit.load(prefix)
    program = network.program()  # kept, or the block loses its operators
    names = {op.name() for op in program.global_block().ops}
    used = {name.removeprefix("pd_op.").removesuffix("_") for name in names if name.startswith("pd_op.")}
    used = used.difference(_NO_OPERATION)
    listed = {name: bool({name, f"{name}_", _OLD_NAMES.get(name)} & known) for name in sorted(used)}
    io.write_json(f"{prefix}.operators", listed)


if __name__ == "__main__":
    {"convert": _convert, "explain": _explain}[sys.argv[1]](*sys.argv[2:])

"""The process that calls paddle2onnx.

`python -m ppcls_compress.deploy.onnx.converter convert PREFIX OPSET` writes PREFIX.onnx from PREFIX.json;
`... explain PREFIX` fails with the names of the operators that paddle2onnx does not list.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ppcls_compress.errors import UserError

_NO_OPERATION = ("data", "feed", "fetch")


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

    known = {*get_all_supported_operators_pir(), *_NO_OPERATION}
    names = {op.name() for op in paddle.jit.load(prefix).program().global_block().ops}
    used = {name.removeprefix("pd_op.") for name in names if name.startswith("pd_op.")}
    unknown = sorted(used - known)
    if unknown:
        raise UserError(f"paddle2onnx knows no ONNX form of {', '.join(unknown)}")


if __name__ == "__main__":
    {"convert": _convert, "explain": _explain}[sys.argv[1]](*sys.argv[2:])

"""The process that calls paddle2onnx.

With `convert PROGRAM PARAMETERS TARGET OPSET` it writes the ONNX file TARGET, with `list TARGET` a JSON file that names
the operators that paddle2onnx knows.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ppcls_compress import io
from ppcls_compress.errors import UserError


def _convert(program: str, parameters: str, target: str, opset: str) -> None:
    import paddle2onnx

    # Any other choice of tool tidies the graph with a package that installs what it misses.
    paddle2onnx.export(program, parameters, target, opset_version=int(opset), optimize_tool=None)
    if not Path(target).is_file():
        raise UserError("paddle2onnx wrote no model")


def _list(target: str) -> None:
    from paddle2onnx.paddle2onnx_cpp2py_export import get_all_supported_operators_pir

    io.write_json(target, sorted(get_all_supported_operators_pir()))


if __name__ == "__main__":
    {"convert": _convert, "list": _list}[sys.argv[1]](*sys.argv[2:])

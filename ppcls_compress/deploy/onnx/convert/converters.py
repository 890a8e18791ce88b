"""What converts a program: paddle2onnx, or where that fails or is not there, p2o."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ppcls_compress import io
from ppcls_compress.deploy import extras, fresh
from ppcls_compress.deploy.onnx.convert import apart, lowering
from ppcls_compress.deploy.onnx.convert.program import doubles_as_floats
from ppcls_compress.deploy.onnx.graph import OPSET
from ppcls_compress.deploy.program import DIALECT, Program, kind
from ppcls_compress.errors import UserError, one_line

_WORKER = "ppcls_compress.deploy.onnx.convert.paddle2onnx_worker"
_SECONDS = 1800
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


@dataclass(frozen=True)
class Converter:
    """One converter.

    Attributes:
        name: of the package, and in messages.
        prepare: changes a program, in place, so that the converter does not err; what it computes stays the same.
        run: writes an ONNX file in which a parameter carries its name; from the file of the prepared program, that of
            the parameters' values, and the program itself; raises UserError with the reason.
    """

    name: str
    prepare: Callable[[Program], None]
    run: Callable[[Path, Path, Path, Program], None]

    @property
    def installed(self) -> bool:
        """Whether it can be used here."""
        return not extras.missing([self.name])


def by_paddle2onnx(source: Path, parameters: Path, target: Path) -> None:
    """Convert a program of Paddle 2 (`.pdmodel`) or 3 in a process of its own; it ends that on unknown operators.

    Raises:
        UserError: it failed.
    """
    fresh.run_module(_WORKER, "convert", source, parameters, target, str(OPSET), folder=target.parent)


def _run_paddle2onnx(source: Path, parameters: Path, target: Path, program: Program) -> None:
    try:
        by_paddle2onnx(source, parameters, target)
    except UserError as failure:
        raise _explained(program, target.with_suffix(".known"), failure) from failure


def _explained(program: Program, known_file: Path, failure: UserError) -> UserError:
    try:
        fresh.run_module(_WORKER, "list", known_file, folder=known_file.parent)
    except UserError:
        return failure  # the first error is the one that matters
    known = set(io.read_json(known_file))
    computing = {kind(op) for op in program.operators if op["#"].startswith(DIALECT)}
    used = sorted(computing.difference(_NO_OPERATION))
    unknown = [name for name in used if not {name, f"{name}_", _OLD_NAMES.get(name)} & known]
    if unknown:
        return UserError(f"knows none of {', '.join(unknown)}")
    return UserError(f"{failure}; the operators of the network: {', '.join(used)}")


def _run_p2o(source: Path, parameters: Path, target: Path, program: Program) -> None:
    """Its program, which is no Python."""
    command = [extras.program("p2o"), source, parameters, target, "--opset", str(OPSET), "--strict"]
    with apart.told_apart(parameters, program) as originals:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise UserError(f"stopped, because it took longer than {_SECONDS} seconds") from error
    if done.returncode or not target.is_file():
        said = done.stderr.partition("Stack backtrace")[0].removeprefix("Error: ")
        raise UserError(one_line(said, 200) or f"ended with code {done.returncode}, without a word")
    apart.put_back(target, originals)


CONVERTERS = (
    Converter("paddle2onnx", doubles_as_floats, _run_paddle2onnx),
    Converter("p2o", lowering.lower, _run_p2o),
)
"""In the order in which they are tried; docs/design.md says why."""

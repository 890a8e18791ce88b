"""Programs of Paddle 2 and 3 -> ONNX, compared with what Paddle Inference answers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_compress.deploy import extras, fresh
from ppcls_compress.deploy.imported.source import PIR, Source
from ppcls_compress.deploy.onnx import convert, foreign
from ppcls_compress.deploy.onnx.convert.agreement import Probe
from ppcls_compress.deploy.onnx.convert.converters import CONVERTERS, Converter, by_paddle2onnx
from ppcls_compress.deploy.program import Program
from ppcls_compress.errors import UserError, first_line

_WORKER = "ppcls_compress.deploy.imported.paddle_worker"


def to_onnx(
    source: Source, images: np.ndarray, prepared: Callable[[Any], tuple[Any, int]], folder: Path
) -> tuple[Any, np.ndarray]:
    """A program as ONNX, by the first converter whose graph answers as it does.

    Args:
        source: the program.
        images: float32 [N, C, H, W].
        prepared: brings an `onnx.ModelProto` into the common form; gives it, and which of its outputs that keeps.
        folder: a temporary one.

    Returns:
        The prepared `onnx.ModelProto`, and what the program itself answers to the images in Paddle Inference.

    Raises:
        UserError: no converter has a form for it, or Paddle Inference does not run it.
    """
    if source.kind == PIR:
        Program.read(source.path)
    failures = []
    for converter in filter(lambda converter: converter.installed, CONVERTERS):
        try:
            written = foreign.read(_converted(source, converter, folder))
        except UserError as failure:
            failures.append(f"{converter.name}: {failure}")
            continue
        found, position = prepared(written)
        target = folder / f"{converter.name}.prepared.onnx"
        target.write_bytes(found.SerializeToString())
        answer = _answers(source, images, folder)[position]
        try:
            Probe(images, answer).check(target)
        except UserError as failure:
            failures.append(f"{converter.name}: {failure}")
            continue
        return found, answer
    absent = [extras.absence(converter.name) for converter in CONVERTERS if not converter.installed]
    raise UserError(f"{source.path}: has no ONNX form: {'; '.join((*failures, *absent))}")


def _answers(source: Source, images: np.ndarray, folder: Path) -> list[np.ndarray]:
    """What a program answers, an array for each of its outputs."""
    np.save(folder / "images.npy", images)
    answers = folder / "answers.npz"
    try:
        fresh.run_module(_WORKER, source.path, source.parameters, folder / "images.npy", answers, folder=folder)
    except UserError as error:
        reason = str(error).removeprefix(f"{_WORKER}: ")
        raise UserError(f"{source.path}: Paddle Inference does not run it: {reason}") from error
    with np.load(answers, allow_pickle=False) as found:
        return list(dict(found).values())


def _converted(source: Source, converter: Converter, folder: Path) -> Path:
    try:
        return _written(source, converter, folder)
    except UserError:
        raise
    except _MALFORMED as error:
        raise UserError(f"the program or its parameters are damaged: {first_line(error)}") from error


_MALFORMED = (struct.error, LookupError, TypeError, ValueError, AttributeError)
"""What reading a file of another form than Paddle's runs into, wherever that is noticed."""


def _written(source: Source, converter: Converter, folder: Path) -> Path:
    prefix = folder / "program"
    for suffix, file in ((source.kind, source.path), (".pdiparams", source.parameters)):
        link = prefix.with_suffix(suffix)
        if not link.exists():
            link.symlink_to(file.resolve())
    if source.kind == PIR:
        return convert.convert(converter, prefix)
    if converter.name != "paddle2onnx":
        raise UserError("reads programs of Paddle 3 only")
    target = prefix.with_suffix(".onnx")
    by_paddle2onnx(prefix.with_suffix(source.kind), prefix.with_suffix(".pdiparams"), target)
    return target

"""Paddle network -> float ONNX graph, by one of the converters that there are, checked against the network."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir
import paddle

from ppcls_compress.deploy import extras
from ppcls_compress.deploy.network import Deployed
from ppcls_compress.deploy.onnx import graph as onnx_graph
from ppcls_compress.deploy.onnx.convert import agreement, epsilons, normal
from ppcls_compress.deploy.onnx.convert.converters import CONVERTERS, Converter
from ppcls_compress.deploy.program import Program
from ppcls_compress.errors import UserError
from ppcls_compress.postprocess.base import NONE
from ppcls_compress.slim.graph import inference_mode
from ppcls_compress.slim.tracing import save_program

INPUT_NAME = "image"
_logger = logging.getLogger(__name__)


def float_graph(model: paddle.nn.Layer, image_shape: Sequence[int]) -> ir.Model:
    """The graph of a float network in evaluation mode, with a free batch size.

    A tensor that is a parameter carries the parameter's name, and a normalization has its layer's epsilon. On random
    images the graph answers as the network does; that is looked at where a runtime is installed.

    Args:
        model: maps [N, C, H, W] images to [N, classes], or to several tensors; see `deploy.network`; not changed.
        image_shape: (C, H, W).

    Raises:
        UserError: no converter that is installed converts the network; says why, for each.
    """
    with tempfile.TemporaryDirectory(prefix="ppcls_compress_") as folder:
        prefix = Path(folder) / "model"
        spec = paddle.static.InputSpec([None, *image_shape], "float32", INPUT_NAME)
        logits = Deployed(model, ending=NONE)
        with inference_mode(logits):
            save_program(logits, str(prefix), [spec])
        return _first_that_agrees(prefix, agreement.probe(logits, image_shape))


def _first_that_agrees(prefix: Path, probe: agreement.Probe) -> ir.Model:
    failures = []
    for converter in filter(lambda converter: converter.installed, CONVERTERS):
        try:
            target = convert(converter, prefix)
            probe.check(target)
        except UserError as failure:
            failures.append(f"{converter.name}: {failure}")
            continue
        if failures:
            _logger.info("converted to ONNX by %s; %s", converter.name, "; ".join(failures))
        return onnx_graph.load(target)
    absent = [extras.absence(converter.name) for converter in CONVERTERS if not converter.installed]
    raise UserError(f"the network has no ONNX form: {'; '.join((*failures, *absent))}")


def convert(converter: Converter, prefix: Path) -> Path:
    """Convert a saved program by one converter; returns the file, beside the program.

    Args:
        converter: an entry of `CONVERTERS`.
        prefix: of `.json` and `.pdiparams`, which stay as they are.

    Raises:
        UserError: it fails, or writes other normalizations than the program has; without its name.
    """
    program = Program.read(prefix.with_suffix(".json"))
    prepared, source = program.copy(), prefix.with_suffix(f".{converter.name}.json")
    converter.prepare(prepared)
    prepared.write(source)
    target = prefix.with_suffix(f".{converter.name}.onnx")
    converter.run(source, prefix.with_suffix(".pdiparams"), target, prepared)
    if wrong := finish(target, program):
        _logger.info(
            "%s wrote %d epsilons that are not the layers', which stand in the file now (Paddle2ONNX issue 1646)",
            converter.name,
            wrong,
        )
    return target


def finish(path: Path, program: Program) -> int:
    """Bring what a converter wrote into the common form, with the layers' epsilons.

    Returns:
        How many epsilons were not the layers'.

    Raises:
        UserError: the normalizations of file and program are not the same.
    """
    import onnx

    model = onnx.load(str(path))
    wrong = epsilons.take_from(program, model)
    normal.normalize(model)
    onnx.save(model, str(path))
    return wrong

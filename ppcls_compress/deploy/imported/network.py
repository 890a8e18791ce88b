"""A model of any origin as a tidied float graph that answers as the model does."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

from ppcls_compress.deploy.extras import require
from ppcls_compress.deploy.imported import paddle_program
from ppcls_compress.deploy.imported.source import KINDS, ONNX, Source
from ppcls_compress.deploy.onnx import foreign, forms
from ppcls_compress.deploy.onnx import graph as onnx_graph
from ppcls_compress.deploy.onnx.files import LAYOUTS
from ppcls_compress.deploy.onnx.layered import normalize_products
from ppcls_compress.deploy.onnx.quiet import quiet
from ppcls_compress.deploy.onnx.runtime import load as load_runtime
from ppcls_compress.deploy.onnx.simplify import simplify
from ppcls_compress.deploy.onnx.weights import Folded
from ppcls_compress.errors import ConfigError, UserError, one_line
from ppcls_compress.postprocess.base import NONE, OUTPUTS, SIGMOID, SOFTMAX

_ENDINGS = {"Softmax": SOFTMAX, "Sigmoid": SIGMOID}
_SAME, _SAME_AS_HALF, _ROUNDING = 1e-3, 2e-2, 1e-5
"""How far a tidied graph's answers may be, of the largest: float32 in another order is a hundred times closer; a file
in half precision rounds each of its tensors to a thousandth or less."""
_BY_ENDING = {SOFTMAX: "probabilities", SIGMOID: "label_probabilities", NONE: "logits"}


@dataclass(frozen=True, eq=False)
class FloatNetwork:
    """A model.

    Attributes:
        source: its files.
        graph: tidied, its ending taken off, so that it gives logits [N, classes] or features; not to be changed.
        folded: what `simplify` returned.
        image_shape: (C, H, W).
        classes: how many numbers it gives for an image.
        output: what the model gives, a name in `postprocess.base.OUTPUTS`.
        untidied: the graph of the file, before anything was folded.
    """

    source: Source
    graph: ir.Model
    folded: Mapping[str, Folded]
    image_shape: tuple[int, int, int]
    classes: int
    output: str
    untidied: ir.Model

    @property
    def params(self) -> int:
        """Number of parameters: those of its layers, and what else it computes with."""
        floats = (value.const_value for value in self.graph.graph.initializers.values())
        return sum(tensor.size for tensor in floats if tensor.dtype == ir.DataType.FLOAT)

    def runner(self) -> Callable[[np.ndarray], np.ndarray]:
        """What maps float32 images [N, C, H, W] to logits or features [N, classes], in float by ONNX Runtime."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "float.onnx")
            path.write_bytes(onnx_graph.to_proto(onnx_graph.copied(self.graph)).SerializeToString())
            return load_runtime(path, "onnxruntime", threads=len(os.sched_getaffinity(0))).run


@dataclass(frozen=True)
class _Trust:
    """What is known of a file when its graph is compared with it.

    Attributes:
        path: of the file.
        fixed_batch: whether its exporter wrote a batch size down, which is made free.
        half: whether it computes in half precision, and its graph here in float32.
    """

    path: Path
    fixed_batch: bool = False
    half: bool = False


class _Read(NamedTuple):
    """An `onnx.ModelProto` in the common form, and what the file itself answers."""

    proto: Any
    answer: np.ndarray
    trust: _Trust


def open_network(
    source: Source, images: np.ndarray, *, gives: str | None = None, output_name: str | None = None
) -> FloatNetwork:
    """Read a model.

    Args:
        source: its files.
        images: two or more as its preprocessing makes them, float32 [N, C, H, W]; the graph must answer as the model.
        gives: what it gives, a name in `postprocess.base.OUTPUTS`; None takes what its last operator says.
        output_name: which of its outputs, where there are several.

    Raises:
        MissingDependencyError: a package that reads or runs it is not installed.
        UserError: it is no such model, takes other images, or its graph answers otherwise.
    """
    require(LAYOUTS["ort"], "onnx")
    with quiet(), tempfile.TemporaryDirectory(prefix="ppcls_compress_") as folder:
        read = _from_onnx if source.kind == ONNX else _from_program
        proto, answer, trust = read(source, images, output_name, Path(folder))
        if answer.ndim > 2 and answer[0].size == answer.shape[1]:
            answer = answer.reshape(len(answer), -1)
            forms.flatten_answer(proto.graph, answer.shape[1])
        target = Path(folder, "model.onnx")
        target.write_bytes(proto.SerializeToString())
        model = onnx_graph.load(target)
        untidied = onnx_graph.copied(model)
        _check_answer(answer, len(images), source.path)
        normalize_products(model)
        try:
            folded = simplify(model)
        except Exception as error:  # what a file of another tool makes of the passes is not foreseen
            raise UserError(f"{source.path}: cannot be tidied: {one_line(str(error), 200)}") from error
        _check_same(model, images, answer, trust, Path(folder, "tidied.onnx"))
        ending = _take_ending(model, gives)
    shape, output = tuple(images.shape[1:]), gives or _BY_ENDING[ending]
    return FloatNetwork(source, model, folded, shape, answer.shape[1], output, untidied)


def _from_onnx(source: Source, images: np.ndarray, name: str | None, folder: Path) -> _Read:
    original = foreign.read(source.path)
    found = foreign.common_form(original, source.path, name, in_rows=True)
    foreign.sized(found, images.shape[1:], source.path)
    answer = _original_answer(original, found.graph.output[0].name, images, source.path)
    return _Read(found, answer, _Trust(source.path, foreign.has_fixed_batch(original), forms.is_half(original.graph)))


def _original_answer(original: Any, name: str, images: np.ndarray, path: Path) -> np.ndarray:
    """What the file answers as it came, in batches of the size that stands in it, of images as it takes them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            original.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        taken = session.get_inputs()[0]
        size = taken.shape[0] if isinstance(taken.shape[0], int) else len(images)
        repeated = np.concatenate([images, np.repeat(images[-1:], -len(images) % size, axis=0)])
        repeated = _as_taken(repeated, taken)
        parts = [
            session.run([name], {taken.name: repeated[start : start + size]})[0]
            for start in range(0, len(repeated), size)
        ]
    except Exception as error:  # of the runtime's own kinds, which have no common one
        raise UserError(f"{path}: ONNX Runtime does not run it: {one_line(str(error), 200)}") from error
    answer = np.concatenate(parts)[: len(images)]
    return answer.astype(np.float32) if answer.dtype == np.float16 else answer


def _as_taken(images: np.ndarray, taken: Any) -> np.ndarray:
    """Images [N, C, H, W] in the layout and of the type of a session's input."""
    if len(taken.shape) == 2:
        images = images.reshape(len(images), -1)
    elif foreign.takes_channels_last(taken.shape[1:], images.shape[1:]):
        images = forms.turned(images)
    return images.astype(np.float16) if taken.type == "tensor(float16)" else images


def _from_program(source: Source, images: np.ndarray, name: str | None, folder: Path) -> _Read:
    def prepared(written: Any) -> tuple[Any, int]:
        found = foreign.common_form(written, source.path, name)
        foreign.sized(found, images.shape[1:], source.path)
        names = [value.name for value in written.graph.output]
        return found, names.index(found.graph.output[0].name)

    return _Read(*paddle_program.to_onnx(source, images, prepared, folder), _Trust(source.path))


def _check_answer(answer: np.ndarray, count: int, path: Path) -> None:
    if answer.ndim != 2 or len(answer) != count or answer.dtype != np.float32:
        raise UserError(
            f"{path}: gives {answer.dtype} {list(answer.shape)} for {count} images; class scores, attributes or "
            "features, [N, classes] in float, are needed"
        )
    if not np.isfinite(answer).all():
        raise UserError(f"{path}: its answer to the first images is not finite; its weights are broken")


def _check_same(model: ir.Model, images: np.ndarray, answer: np.ndarray, trust: _Trust, target: Path) -> None:
    """The tidied graph answers as the model, with a batch size of its own."""
    target.write_bytes(onnx_graph.to_proto(onnx_graph.copied(model)).SerializeToString())
    bound = (_SAME_AS_HALF if trust.half else _SAME) * np.abs(answer).max() + _ROUNDING
    try:
        found = load_runtime(target, "onnxruntime", threads=1).run(images)
    except Exception as error:  # of the runtime's own kinds, which have no common one
        reason = f"does not run: {one_line(str(error).replace(str(target), target.name), 200)}"
    else:
        if found.shape == answer.shape and np.abs(found - answer).max() <= bound:
            return
        reason = f"answers otherwise, {list(found.shape)}" if found.shape != answer.shape else "answers otherwise"
    helps = "; its batch size is fixed: export it with a free one" if trust.fixed_batch else ""
    raise UserError(f"{trust.path}: the graph made of {KINDS[trust.path.suffix.lower()]} {reason}{helps}")


def _take_ending(model: ir.Model, gives: str | None) -> str:
    """Take a softmax or sigmoid at the end off, so that logits are left; what it was."""
    answer = model.graph.outputs[0]
    node = answer.producer()
    by_class = node is not None and node.attributes.get_int("axis", -1) in (-1, 1)
    ending = _ENDINGS.get(node.op_type, NONE) if by_class else NONE
    if gives == "features" or (ending != NONE and gives == "logits"):
        return NONE
    if gives is not None and ending not in (NONE, OUTPUTS[gives]):
        raise ConfigError(f"--gives: {gives} asked for, but the model ends in {node.op_type}: {_BY_ENDING[ending]}")
    if ending != NONE:
        logits = node.inputs[0]
        logits.type, logits.shape = answer.type, answer.shape
        model.graph.outputs[0] = logits
        onnx_graph.sweep(model)
    return ending

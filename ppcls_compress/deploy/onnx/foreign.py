"""ONNX files of any exporter, in the form that this package's graphs have: one image in, one answer out, free batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from ppcls_compress.deploy.onnx import forms
from ppcls_compress.deploy.onnx.convert.normal import normalize
from ppcls_compress.deploy.onnx.files import LARGEST
from ppcls_compress.deploy.onnx.graph import OPSET
from ppcls_compress.errors import UserError, one_line

_FLOAT = onnx.TensorProto.FLOAT
_BYTES = 4
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger")


def read(path: Path) -> Any:
    """The `onnx.ModelProto` of a file, all of its tensors in it, checked by ONNX.

    Raises:
        UserError: it is none, its tensors lie outside its folder, or it is too large.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise UserError(f"{path}: not an ONNX model: {one_line(str(error), 200)}") from error
    _load_external(model, path)
    try:
        onnx.checker.check_model(model)
        return onnx.inliner.inline_local_functions(model) if model.functions else model
    except Exception as error:  # the checker's own kind, and what its C++ side raises
        raise UserError(f"{path}: not a sound ONNX model: {one_line(str(error), 200)}") from error


def _load_external(model: Any, path: Path) -> None:
    """Read the tensors that lie in files of their own, none of them outside the folder of the model."""
    folder, total = path.parent.resolve(), 0
    for tensor in forms.tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        facts = {entry.key: entry.value for entry in tensor.external_data}
        name = facts.get("location", "")
        file = (folder / name).resolve()
        if not name or not file.is_relative_to(folder) or file == folder:
            raise UserError(f"{path}: its tensor {tensor.name!r} lies in {name!r}, which is outside the model's folder")
        if not file.is_file():
            raise UserError(f"{path}: its tensor {tensor.name!r} lies in {file}, which is not there")
        try:
            offset, length = int(facts.get("offset", 0)), int(facts.get("length", file.stat().st_size))
        except ValueError as error:
            raise UserError(f"{path}: where its tensor {tensor.name!r} lies is no number") from error
        total += length
        if offset < 0 or length < 0 or offset + length > file.stat().st_size:
            raise UserError(f"{path}: its tensor {tensor.name!r} reaches beyond the end of {file}")
        if total > LARGEST:
            raise UserError(f"{path}: its tensors take more than {LARGEST:,} bytes")
        with open(file, "rb") as stream:
            stream.seek(offset)
            tensor.raw_data = stream.read(length)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def common_form(model: Any, path: Path, output: str | None = None, *, in_rows: bool = False) -> Any:
    """A copy with one image in and one answer out, a free batch size, a known operator set, and float32 for float16.

    Args:
        model: that `read` gave.
        path: for messages.
        output: the name of the answer, where there are several.
        in_rows: whether it may also take the values of an image in a row.

    Raises:
        UserError: it has two inputs, takes or gives anything else, or is quantized already.
    """
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise UserError(f"{path}: takes {len(inputs)} inputs ({names}); a model of one image is needed")
    if forms.is_half(graph):
        forms.widen(found)
    _check_input(inputs[0], path, (2, 4) if in_rows else (4,))
    answer = _answer(graph, path, output)
    del graph.output[:]
    graph.output.append(answer)
    quantized = sorted({node.op_type for node in graph.node if node.op_type in _QUANTIZED})
    if quantized:
        raise UserError(f"{path}: is quantized already ({', '.join(quantized)}); name the float model")
    found = _known_operators(found, path)
    _free_batch(found)
    return found


def _check_input(value: Any, path: Path, ranks: Sequence[int]) -> None:
    kind, sizes = value.type.tensor_type, dimensions(value)
    if kind.elem_type != _FLOAT or sizes is None or len(sizes) not in ranks:
        element = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
        shown = "of unknown shape" if sizes is None else [size or "?" for size in sizes]
        rows = ", or their values in rows [N, C x H x W]," if 2 in ranks else ""
        raise UserError(f"{path}: takes {element} {shown}; float images [N, C, H, W]{rows} are needed")


def dimensions(value: Any) -> list[int] | None:
    """The sizes of a tensor, 0 for a free one; None where they are not known."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _answer(graph: Any, path: Path, name: str | None) -> Any:
    names = ", ".join(value.name for value in graph.output)
    if name is not None:
        chosen = [value for value in graph.output if value.name == name]
        if not chosen:
            raise UserError(f"{path}: gives no {name!r}; it gives {names}")
    else:
        chosen = list(graph.output)
    if len(chosen) != 1:
        raise UserError(f"{path}: gives {len(chosen)} outputs ({names}); name the one that is meant by --output-name")
    return chosen[0]


def _known_operators(model: Any, path: Path) -> Any:
    """In an operator set that the layouts are written in, or a later one."""
    version = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    if version >= OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:  # its C++ side raises what it likes
        reason = one_line(str(error), 200)
        raise UserError(f"{path}: operator set {version} cannot be brought to {OPSET}: {reason}") from error


def _free_batch(model: Any) -> None:
    """A batch size that the exporter wrote down becomes free, in the shapes that reshaping is to as well."""
    graph = model.graph
    image = _image(graph)
    fixed = image.type.tensor_type.shape.dim[0].dim_value
    for value in (image, *graph.output):
        if value.type.tensor_type.HasField("shape") and value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].ClearField("dim_value")
    normalize(model)
    del graph.value_info[:]
    if not fixed:
        return
    reshaped = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    constants = [(tensor.name, tensor) for tensor in graph.initializer]
    constants += [
        (node.output[0], attribute.t)
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    for name, tensor in constants:
        sizes = numpy_helper.to_array(tensor) if name in reshaped else np.zeros(0)
        if sizes.ndim == 1 and sizes.size > 1 and sizes[0] == fixed:
            freed = np.concatenate([[0 if -1 in sizes[1:] else -1], sizes[1:]]).astype(np.int64)
            tensor.CopyFrom(numpy_helper.from_array(freed, tensor.name))


def has_fixed_batch(model: Any) -> bool:
    """Whether the batch size stands in a model of one input."""
    return _image(model.graph).type.tensor_type.shape.dim[0].dim_value > 0


def sized(model: Any, image_shape: Sequence[int], path: Path) -> None:
    """Write down the size of an image, in place; one that is taken in a row, or channels last, is brought there first.

    Raises:
        UserError: the model takes another one.
    """
    image = _image(model.graph)
    taken = tuple(dimensions(image)[1:])
    if len(taken) == 1:
        _check_row(taken[0], image_shape, path)
        forms.flatten_images(model.graph, image)
    elif takes_channels_last(taken, image_shape):
        forms.turn_images(model.graph, image)
    elif not _fits(taken, image_shape):
        shown = ", ".join(str(size or "?") for size in taken)
        raise UserError(
            f"{path}: takes images [{shown}], its preprocessing gives {list(image_shape)}: another channel count, size "
            "or layout; name the right one with --preprocess or -c"
        )
    for dim, size in zip(_image(model.graph).type.tensor_type.shape.dim[1:], image_shape, strict=True):
        dim.ClearField("dim_param")
        dim.dim_value = size
    _check_tensors(model, path)


def takes_channels_last(taken: Sequence[Any], image_shape: Sequence[int]) -> bool:
    """Whether a model that takes [N, *taken] can only take images (C, H, W) as [N, H, W, C]."""
    channels, *sizes = image_shape
    return len(taken) == len(image_shape) and not _fits(taken, image_shape) and _fits(taken, (*sizes, channels))


def _fits(taken: Sequence[Any], given: Sequence[int]) -> bool:
    return all(size == other for size, other in zip(taken, given, strict=True) if isinstance(size, int) and size)


def _image(graph: Any) -> Any:
    constants = {tensor.name for tensor in graph.initializer}
    (image,) = (value for value in graph.input if value.name not in constants)
    return image


def _check_row(taken: int, image_shape: Sequence[int], path: Path) -> None:
    count = math.prod(image_shape)
    if taken not in (0, count):
        raise UserError(
            f"{path}: takes {taken} values in a row, its preprocessing gives {list(image_shape)}, which are {count}; "
            "name the right one with --preprocess or -c"
        )


def _check_tensors(model: Any, path: Path) -> None:
    """Refuse a model that computes with larger tensors than any classifier does, as far as shapes are known."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for value in inferred.graph.value_info:
        count = math.prod(max(size, 1) for size in dimensions(value) or [])
        if count * _BYTES > LARGEST:
            raise UserError(
                f"{path}: its tensor {value.name!r} has {count:,} elements, which is more than is computed here"
            )

"""How each operator of a captured network is written into a program for oneDNN."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ppcls_compress.deploy.paddle.onednn_lower import CONVOLUTIONS, Lowering
from ppcls_compress.errors import NoFormError, first_line
from ppcls_compress.registry import Registry
from ppcls_compress.slim.graph import Op
from ppcls_compress.slim.quant import WeightGrid

Rule = Callable[[Lowering, Op], None]
RULES: Registry[Rule] = Registry("operator")
_FLOAT = {"skip_quant": 1}
"""Keeps an operator in float that Paddle would compute with integers as soon as it finds ranges around it."""


def write(lowering: Lowering) -> str:
    """Write every operator; returns the name of the network's output.

    Raises:
        NoFormError: an operator has no rule, or is used in a way that has no form.
    """
    for op in lowering.ops:
        if lowering.pending(op):
            _write_one(lowering, op)
    return lowering.name(lowering.graph.outputs[0])


def _write_one(lowering: Lowering, op: Op) -> None:
    if op.name not in RULES:
        raise _no_form(lowering, op)
    try:
        RULES.get(op.name)(lowering, op)
    except NoFormError:
        raise
    except (KeyError, IndexError, ValueError, RuntimeError) as error:  # of Paddle's checks of what is added, for one
        raise NoFormError(f"{_no_form(lowering, op)} as it is used here: {first_line(error)}") from error


def _no_form(lowering: Lowering, op: Op, what: str = "") -> NoFormError:
    layer = op.owner.removeprefix("network").removeprefix(".")
    where = f" in layer {layer}" if layer else ""
    return NoFormError(f"operator {op.name}{what}{where}: has no form for {lowering.target}")


def _ints(lowering: Lowering, op: Op, position: int) -> list[int]:
    """Integers that an operator reads, which must be the same for every input."""
    found = lowering.graph.ints(op.inputs[position])
    if found is None:
        raise _no_form(lowering, op, " by computed axes or sizes")
    return found


def _number(lowering: Lowering, op: Op, position: int) -> float:
    """A number that an operator reads, which must be the same for every input."""
    found = lowering.constant(op.inputs[position])
    if found is None:
        raise _no_form(lowering, op, " by a computed number")
    return float(found.reshape(-1)[0])


def _axes(lowering: Lowering, op: Op, found: Iterable[int]) -> list[int]:
    """Axes counted from the first: a kernel of oneDNN's writes past its memory for others."""
    return [int(axis) % len(lowering.graph.shapes[op.inputs[0]]) for axis in found]


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        for name in names:
            RULES.register(name)(rule)
        return rule

    return add


@_rule("data")
def _input(lowering: Lowering, op: Op) -> None:
    lowering.put(op.outputs[0], lowering.program.input)


@_rule("full", "full_int_array")
def _full(lowering: Lowering, op: Op) -> None:
    if op.name == "full_int_array":
        lowering.put_constant(op.outputs[0], np.array(op.attrs["value"], np.float32))
        return
    shape = [int(size) for size in op.attrs["shape"]]
    if len(shape) > 1 and shape[0] == lowering.batch:
        _constant_per_image(lowering, op, lowering.program.input, shape, float(op.attrs["value"]))
    else:
        lowering.put_constant(op.outputs[0], np.full(shape, op.attrs["value"], np.float32))


@_rule("full_like")
def _full_like(lowering: Lowering, op: Op) -> None:
    value, shape = _number(lowering, op, 1), list(lowering.graph.shapes[op.outputs[0]])
    _constant_per_image(lowering, op, lowering.name(op.inputs[0]), shape, value)


def _constant_per_image(lowering: Lowering, op: Op, like: str, shape: list[int], value: float) -> None:
    lowering.put(op.outputs[0], _filled(lowering, like, shape, value))


def _filled(lowering: Lowering, like: str, shape: list[int], value: float) -> str:
    return lowering.emit("fill_constant_batch_size_like", {"Input": like}, shape=[-1, *shape[1:]], value=value)


@_rule(*CONVOLUTIONS)
def _convolution(lowering: Lowering, op: Op) -> None:
    weight = lowering.constant(op.inputs[1])
    if weight is None or op.attrs["data_format"] != "NCHW":
        raise _no_form(lowering, op, " with images last" if weight is not None else " with a computed weight")
    factor, bias, output = _affine_after(lowering, op, weight.shape[0])
    keys = ("strides", "paddings", "dilations", "padding_algorithm", "groups", "data_format")
    attributes = {key: op.attrs[key] for key in keys}
    grid = lowering.grid(op)
    if grid is not None:
        result = lowering.integer_convolution(op, op.inputs[0], grid.weight.scaled(factor), attributes)
    else:
        filters = lowering.program.constant("filter", (weight * factor.reshape(-1, 1, 1, 1)).astype(np.float32))
        source = {"Input": lowering.name(op.inputs[0]), "Filter": filters}
        result = lowering.emit("conv2d", source, "Output", **attributes)
    lowering.put(output, lowering.add_bias(result, bias))


@_rule("matmul")
def _linear(lowering: Lowering, op: Op) -> None:
    weight, shape = lowering.constant(op.inputs[1]), lowering.graph.shapes[op.inputs[0]]
    grid = lowering.grid(op)
    if grid is None:
        if len(shape) == 4:  # its kernel in Paddle 3.3.1 misreads what a convolution writes
            raise _no_form(lowering, op, " of images")
        x, y = (lowering.name(value) for value in op.inputs)
        turned = {"trans_x": op.attrs["transpose_x"], "trans_y": op.attrs["transpose_y"]}
        lowering.put(op.outputs[0], lowering.emit("matmul_v2", {"X": x, "Y": y}, **turned, **_FLOAT))
        return
    if len(shape) != 2:
        raise _no_form(lowering, op, f", quantized, on {len(shape)} dimensions")
    _, bias, output = _affine_after(lowering, op, weight.shape[1], bias_only=True)
    value = op.inputs[0]
    flattened = lowering.maker(value)
    if flattened is not None and _is_view(lowering, flattened):
        value = flattened.inputs[0]
    else:
        target = {"shape": [0, shape[1], 1, 1], "unused": ["XShape"]}
        column = lowering.emit("reshape2", {"X": lowering.name(value)}, **target, **_FLOAT)
        value = f"{value} as image"
        lowering.put(value, column)
    # [in, out] -> [out, in, 1, 1]
    turned = WeightGrid(grid.weight.integers.T[:, :, None, None], grid.weight.limit, 0, grid.weight.bits)
    attributes = {"strides": [1, 1], "paddings": [0, 0], "dilations": [1, 1], "groups": 1}
    result = lowering.add_bias(lowering.integer_convolution(op, value, turned, attributes), bias)
    flat = {"start_axis": 1, "stop_axis": 3, "unused": ["XShape"]}
    lowering.put(output, lowering.emit("flatten_contiguous_range", {"X": result}, **flat))


def _is_view(lowering: Lowering, op: Op) -> bool:
    """Whether an operator makes [N, C] out of [N, C, 1, 1], and only quantized linear layers read that."""
    source, target = lowering.graph.shapes.get(op.inputs[0], ()), lowering.graph.shapes[op.outputs[0]]
    single = op.name in ("flatten", "squeeze", "reshape") and len(target) == 2
    if not single or len(source) != 4 or source[2:] != (1, 1):
        return False
    return all(lowering.grid(reader) is not None for reader in lowering.readers(op.outputs[0]))


def _affine_after(
    lowering: Lowering, op: Op, channels: int, *, bias_only: bool = False
) -> tuple[np.ndarray, np.ndarray, str]:
    """The batch norm and additions that alone read an operator's output, as factor and bias per channel.

    Returns:
        Factor, bias, and the value after them.
    """
    factor, bias, value = np.ones(channels), np.zeros(channels), op.outputs[0]
    while (after := lowering.only_reader(value)) is not None:
        if after.name == "batch_norm" and not bias_only:
            scale, shift = _norm(lowering, after)
        elif after.name == "add":
            (other,) = [item for item in after.inputs if item != value] or [None]
            array = None if other is None else lowering.constant(other)
            if array is None or array.size != channels or max(array.shape) != channels:
                break
            scale, shift = np.ones(channels), array.reshape(-1)
        else:
            break
        factor, bias, value = factor * scale, bias * scale + shift, after.outputs[0]
        lowering.absorb(after)
    return factor, bias, value


def _norm(lowering: Lowering, op: Op) -> tuple[np.ndarray, np.ndarray]:
    mean, variance = (lowering.constant(value).astype(np.float64) for value in op.inputs[1:3])
    gamma, beta = (None if value is None else lowering.constant(value) for value in op.inputs[3:5])
    factor = (1.0 if gamma is None else gamma) / np.sqrt(variance + op.attrs["epsilon"])
    return factor, (0.0 if beta is None else beta) - mean * factor


@_rule("batch_norm")
def _batch_norm(lowering: Lowering, op: Op) -> None:
    factor, shift = (lowering.program.constant("norm", part.astype(np.float32)) for part in _norm(lowering, op))
    scaled = lowering.emit("elementwise_mul", {"X": lowering.name(op.inputs[0]), "Y": factor}, axis=1, **_FLOAT)
    lowering.put(op.outputs[0], lowering.emit("elementwise_add", {"X": scaled, "Y": shift}, axis=1, **_FLOAT))


_PLAIN = {name: name for name in ("relu", "relu6", "sigmoid", "swish", "silu")} | {"hardswish": "hard_swish"}


@_rule(*_PLAIN)
def _activation(lowering: Lowering, op: Op) -> None:
    lowering.put(op.outputs[0], lowering.emit(_PLAIN[op.name], {"X": lowering.name(op.inputs[0])}))


@_rule("leaky_relu")
def _leaky_relu(lowering: Lowering, op: Op) -> None:
    slope = float(op.attrs["negative_slope"])
    lowering.put(op.outputs[0], lowering.emit("leaky_relu", {"X": lowering.name(op.inputs[0])}, alpha=slope))


@_rule("clip")
def _clip(lowering: Lowering, op: Op) -> None:
    bounds = dict(zip(("min", "max"), (_number(lowering, op, position) for position in (1, 2)), strict=True))
    lowering.put(op.outputs[0], lowering.emit("clip", {"X": lowering.name(op.inputs[0])}, **bounds))


@_rule("hardsigmoid")
def _hardsigmoid(lowering: Lowering, op: Op) -> None:
    shape = {"slope": float(op.attrs["slope"]), "offset": float(op.attrs["offset"])}
    lowering.put(op.outputs[0], lowering.emit("hard_sigmoid", {"X": lowering.name(op.inputs[0])}, **shape))


@_rule("softmax")
def _softmax(lowering: Lowering, op: Op) -> None:
    axis = int(op.attrs["axis"])
    lowering.put(op.outputs[0], lowering.emit("softmax", {"X": lowering.name(op.inputs[0])}, axis=axis))


@_rule("add", "multiply")
def _elementwise(lowering: Lowering, op: Op) -> None:
    kind = "elementwise_add" if op.name == "add" else "elementwise_mul"
    arrays = [lowering.constant(value) for value in op.inputs]
    if all(array is not None for array in arrays):
        lowering.put_constant(op.outputs[0], arrays[0] + arrays[1] if op.name == "add" else arrays[0] * arrays[1])
        return
    # The passes take the second operand for the smaller one.
    x, y = sorted(op.inputs, key=lambda value: -np.prod(lowering.graph.shapes[value]))
    operands = {"X": lowering.name(x), "Y": lowering.name(y)}
    lowering.put(op.outputs[0], lowering.emit(kind, operands, axis=-1, **_FLOAT))


@_rule("scale")
def _scale(lowering: Lowering, op: Op) -> None:
    numbers = {"scale": _number(lowering, op, 1), "bias": float(op.attrs["bias"])}
    after = {"bias_after_scale": bool(op.attrs["bias_after_scale"])}
    lowering.put(op.outputs[0], lowering.emit("scale", {"X": lowering.name(op.inputs[0])}, **numbers, **after))


@_rule("dropout")
def _dropout(lowering: Lowering, op: Op) -> None:
    kept = 1.0 - _number(lowering, op, 2)
    lowering.put(op.outputs[0], lowering.emit("scale", {"X": lowering.name(op.inputs[0])}, scale=kept))


@_rule("pool2d")
def _pool(lowering: Lowering, op: Op) -> None:
    if op.attrs["data_format"] != "NCHW":
        raise _no_form(lowering, op, " with images last")
    keys = ("strides", "paddings", "pooling_type", "ceil_mode", "exclusive", "data_format", "global_pooling")
    attributes = {key: op.attrs[key] for key in (*keys, "adaptive", "padding_algorithm")}
    size = _ints(lowering, op, 1)
    source = {"X": lowering.name(op.inputs[0])}
    lowering.put(op.outputs[0], lowering.emit("pool2d", source, ksize=size, **attributes, **_FLOAT))


@_rule("mean")
def _mean(lowering: Lowering, op: Op) -> None:
    axes = _axes(lowering, op, _ints(lowering, op, 1))
    if not axes or 0 in axes:  # no axes mean all of them
        raise _no_form(lowering, op, " across images")
    attributes = {"dim": axes, "keep_dim": bool(op.attrs["keepdim"])}
    lowering.put(op.outputs[0], lowering.emit("reduce_mean", {"X": lowering.name(op.inputs[0])}, **attributes))


@_rule("flatten", "squeeze", "unsqueeze", "reshape")
def _reshape(lowering: Lowering, op: Op) -> None:
    array, shape = lowering.constant(op.inputs[0]), list(lowering.graph.shapes[op.outputs[0]])
    if array is not None:
        lowering.put_constant(op.outputs[0], array.reshape(shape))
        return
    if _is_view(lowering, op):
        return
    if shape[0] != lowering.batch:
        raise _no_form(lowering, op, " across images")
    source = {"X": lowering.name(op.inputs[0])}
    written = lowering.emit("reshape2", source, shape=[0, *shape[1:]], unused=["XShape"], **_FLOAT)
    lowering.put(op.outputs[0], written)


@_rule("transpose")
def _transpose(lowering: Lowering, op: Op) -> None:
    source, order = {"X": lowering.name(op.inputs[0])}, _axes(lowering, op, op.attrs["perm"])
    written = lowering.emit("transpose2", source, axis=order, unused=["XShape"], **_FLOAT)
    lowering.put(op.outputs[0], written)


@_rule("concat")
def _concat(lowering: Lowering, op: Op) -> None:
    sources, axis = [lowering.name(value) for value in op.inputs[0]], _ints(lowering, op, 1)[0]
    lowering.put(op.outputs[0], lowering.emit("concat", {"X": sources}, axis=axis, **_FLOAT))


@_rule("split", "split_with_num")
def _split(lowering: Lowering, op: Op) -> None:
    position = 1 if op.name == "split_with_num" else 2
    axis = _ints(lowering, op, position)[0]
    sections = [lowering.graph.shapes[output][axis] for output in op.outputs]
    source, number = {"X": lowering.name(op.inputs[0])}, len(op.outputs)
    parts = lowering.emit_many("split", source, number, axis=axis, sections=sections, **_FLOAT)
    for output, part in zip(op.outputs, parts, strict=True):
        lowering.put(output, part)


@_rule("slice", "strided_slice")
def _slice(lowering: Lowering, op: Op) -> None:
    bounds = [lowering.graph.ints(value) for value in op.inputs[1:]]
    if any(bound is None for bound in bounds) or list(op.attrs.get("decrease_axis", [])):
        raise _no_form(lowering, op, " by computed or single positions")
    attributes = dict(zip(("starts", "ends", "strides"), bounds, strict=False))
    axes = [int(axis) for axis in op.attrs["axes"]]
    source, known = {"Input": lowering.name(op.inputs[0])}, {"infer_flags": [1] * len(axes)}
    lowering.put(op.outputs[0], lowering.emit(op.name, source, axes=axes, **attributes, **known, **_FLOAT))


@_rule("pad")
def _pad(lowering: Lowering, op: Op) -> None:
    amounts, shape = [int(v) for v in op.attrs["paddings"]], list(lowering.graph.shapes[op.inputs[0]])
    value = _number(lowering, op, 1)
    source = lowering.name(op.inputs[0])
    if any(amounts[:2]) or any(amounts[4:]):
        raise _no_form(lowering, op, " along other axes than the channels")
    # Concatenated: oneDNN's own `pad` writes past its memory when it pads channels (Paddle 3.3.1).
    sides = [_filled(lowering, source, [0, amount, *shape[2:]], value) if amount else None for amount in amounts[2:4]]
    parts = [part for part in (sides[0], source, sides[1]) if part is not None]
    lowering.put(op.outputs[0], lowering.emit("concat", {"X": parts}, axis=1, **_FLOAT))


@_rule("pad3d")
def _pad3d(lowering: Lowering, op: Op) -> None:
    amounts = lowering.graph.ints(op.inputs[1])
    if amounts is None or any(amounts[4:]):
        raise _no_form(lowering, op, " along channels, or by computed amounts")
    attributes = {"paddings": amounts, "mode": op.attrs["mode"], "data_format": op.attrs["data_format"]}
    source = {"X": lowering.name(op.inputs[0])}
    value = float(op.attrs["pad_value"])
    lowering.put(op.outputs[0], lowering.emit("pad3d", source, value=value, **attributes))

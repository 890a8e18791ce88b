"""Paddle's program builder, each use of it from a clean start: whatever traces or saves a network goes through here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from operator import index

import paddle
from paddle.nn.layer import layers
from paddle.pir import core

from ppcls_compress.slim.exchanging import exchanged
from ppcls_compress.slim.left_behind import without_what_forward_left

try:
    from paddle.jit.dy2static import parameter_recorder
except ImportError:  # Paddle 3.0 to 3.2 keep it here
    from paddle.jit.pir_dy2static import parameter_recorder

_LEAN_ON = ("3.0.", "3.1.", "3.2.", "3.3.")
"""Versions of Paddle of which is known what `lean_builder` leaves out; others build at their own pace."""


@contextmanager
def clean_builder(model: paddle.nn.Layer) -> Iterator[None]:
    """Nothing of another program is found while one is traced within, nor later what this one leaves.

    Paddle keys the parameters of a program under construction by `id(program)` and drops them only when the
    construction succeeds. After a failure, the user's own included, the next program at the same address is given
    values of the dead one: of other shapes, so that errors go unnoticed, or freed, which ends the process. The builder
    is one for the process: no other thread may be tracing meanwhile.

    Paddle 3.0 also leaves a `forward` on each layer that it traced, which hangs on that very layer and not on a copy.
    """
    layers = [(layer, vars(layer).get("forward")) for layer in model.sublayers(include_self=True)]
    _forget()
    try:
        with without_what_forward_left(model):
            yield
    finally:
        _forget()
        for layer, own in layers:
            if own is None:
                vars(layer).pop("forward", None)
            else:
                vars(layer)["forward"] = own


def _forget() -> None:
    parameter_recorder._global_parameter_recorder.params_dict.clear()
    parameter_recorder._global_parameter_recorder.tensor2value.clear()
    parameter_recorder._global_inplace_map.params_dict.clear()


@contextmanager
def lean_builder(model: paddle.nn.Layer) -> Iterator[None]:
    """As `clean_builder`, without what takes time that grows with the square of the program, or for each layer anew.

    At every layer's call Paddle lists all operators so far, to write the layer's class on the new ones, which only its
    auto-parallel mode reads; at every parameter it copies the table of all parameters so far; at every operator it
    asks for the Python stack; and for every layer it converts the code of its class (`converted_once`). Its functions
    for these are exchanged while a program is built within, and then put back.
    """
    with ExitStack() as stack:
        stack.enter_context(clean_builder(model))
        stack.enter_context(_without_call_stacks())
        if _is_known():
            from ppcls_compress.slim.conversion import converted_once  # which needs what these versions have inside

            stack.enter_context(converted_once())
            stack.enter_context(exchanged(layers, "name_struct", nullcontext))
            stack.enter_context(exchanged(core, "create_parameter", _by_example(core.create_parameter)))
        yield


def prepare() -> None:
    """Have Paddle list what it lists once in a process, before processes are forked that build programs."""
    if _is_known():
        from ppcls_compress.slim import conversion

        conversion.prepare()


def _is_known() -> bool:
    return paddle.__version__.startswith(_LEAN_ON)


@contextmanager
def _without_call_stacks() -> Iterator[None]:
    limit = getattr(sys, "tracebacklimit", None)
    sys.tracebacklimit = 0
    try:
        yield
    finally:
        if limit is None:
            del sys.tracebacklimit
        else:
            sys.tracebacklimit = limit


def _by_example(create: Callable[..., object]) -> Callable[..., object]:
    """`create_parameter`, which makes one of each type in a start-up program of its own, and others after that."""
    examples: dict[tuple[object, ...], tuple[paddle.static.Program, str, paddle.pir.Value]] = {}

    def create_parameter(dtype: object, shape: Sequence[int], name: str | None = None, **options: object) -> object:
        shape, program = [index(size) for size in shape], paddle.static.default_main_program()
        kind = (dtype, tuple(shape), options.get("trainable", True))
        if name is None or options.get("placements"):
            return create(dtype, shape, name, **options)
        if kind not in examples:
            alone = paddle.static.Program()
            with paddle.static.program_guard(program, alone):
                examples[kind] = alone, name, create(dtype, shape, name, **options)
            return examples[kind][2]
        alone, declared, example = examples[kind]
        program.set_parameters_from(alone)
        with paddle.static.program_guard(program):
            core.reset_insertion_point_to_start()
            made = core.parameter(declared)
        made.get_defining_op().copy_attrs_from(example.get_defining_op())
        made.get_defining_op().set_str_attr("parameter_name", name)
        return made

    return create_parameter


_paddle_fold = paddle.nn.functional.fold


@paddle.jit.not_to_static
def _fold(
    x: paddle.Tensor,
    output_sizes: int | Sequence[int],
    kernel_sizes: int | Sequence[int],
    strides: int | Sequence[int] = 1,
    paddings: int | Sequence[int] = 0,
    dilations: int | Sequence[int] = 1,
    name: str | None = None,
) -> paddle.Tensor:
    """`paddle.nn.functional.fold`, which asserts that it knows the size of the batch, by what does not need to.

    Blocks that lie side by side are put in their places; others are left to Paddle.
    """
    output, kernel = _pair(output_sizes), _pair(kernel_sizes)
    apart = _pair(strides) != kernel or paddings not in (0, [0] * 2, (0,) * 2, [0] * 4) or _pair(dilations) != (1, 1)
    if apart or x.shape[1] < 0 or any(size % step for size, step in zip(output, kernel, strict=True)):
        return _paddle_fold(x, output_sizes, kernel_sizes, strides, paddings, dilations, name)
    (height, width), (rows, columns) = output, kernel
    channels = x.shape[1] // (rows * columns)
    blocks = x.reshape([-1, channels, rows, columns, height // rows, width // columns])
    return blocks.transpose([0, 1, 4, 2, 5, 3]).reshape([-1, channels, height, width])


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def save_program(model: paddle.nn.Layer, prefix: str, input_spec: Sequence[object] | None) -> None:
    """Write `<prefix>.json` and `<prefix>.pdiparams`, as `paddle.jit.save`.

    Args:
        model: in evaluation mode for a network that is to be run only.
        prefix: folder and file prefix.
        input_spec: InputSpecs or example tensors, one per argument of `forward`; None for a network that has them from
            `paddle.jit.to_static`.

    Raises:
        UserError: the network cannot be traced, or not for such inputs; names the layer.
    """
    from ppcls_compress.slim.position import failures_told  # which traces nothing itself, and imports what does

    doing = "saving the network as a program"
    if input_spec is None:
        doing += ", with no input_spec (give one, such as [paddle.static.InputSpec([None, 3, 224, 224])])"
    with lean_builder(model), exchanged(paddle.nn.functional, "fold", _fold), failures_told(model, doing):
        paddle.jit.save(model, prefix, input_spec=input_spec)

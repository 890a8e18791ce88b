"""A network as a flat list of operators: one forward pass with shapes, constants, owners and live parameters.

`capture` runs the forward pass once in Paddle's program builder (no arithmetic is done) and copies what it finds into
plain Python objects, so that nothing here outlives or depends on the program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import paddle
from paddle import nn
from paddle.jit.dy2static.program_translator import StaticFunction
from paddle.nn import functional as F

from ppcls_compress.errors import UserError, first_line
from ppcls_compress.slim import inputs as describing
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.places import known_reason, raised_at
from ppcls_compress.slim.tracing import lean_builder

Shape = tuple[int, ...]
_shape_of = paddle.pir.Value.shape.fget
"""A value's shape in plain numbers, also while the tracer follows those that the network itself reads."""

_SKIPPED_ATTRIBUTES = frozenset({"stop_gradient", "place", "dtype", "struct_name", "op_callstack", "output_dtype"})
_WINDOWED = frozenset(
    {"conv2d", "conv2d_transpose", "conv3d", "depthwise_conv2d", "max_pool2d_with_index", "pool2d", "pool3d", "unfold"}
)


@dataclass(frozen=True)
class Op:
    """One operator of the forward pass.

    Attributes:
        index: its place in the program; the same place again when the same network is captured again.
        name: without dialect and in-place underscore, `conv2d`, `relu`.
        inputs: value ids; None for an optional operand that is missing, a tuple for a list of tensors.
        outputs: value ids, lists flattened.
        owner: path of the innermost layer whose call made it, "" for the network itself.
    """

    index: int
    name: str
    inputs: tuple[str | tuple[str, ...] | None, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, object]
    owner: str


Site = tuple[tuple[str, int], ...]
"""Which call of a layer one is: the layers from the network down to it, each with the number of calls of it that came
before within the call around it."""


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        layer: path of the layer.
        start: the operators that it made have an index from this one
        stop: to below this one.
        inputs: value ids of its arguments, lists flattened.
        outputs: value ids of what it returned, lists flattened.
        site: which call of the layer it is.
    """

    layer: str
    start: int
    stop: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    site: Site = ()


@dataclass(frozen=True)
class Graph:
    """All operators of one forward pass.

    Attributes:
        shapes: value id -> shape.
        makers: value id -> the operator that computes it; parameters and inputs have none.
        parameters: value id -> structured (state-dict) name of the parameter or buffer.
        tensors: structured name -> the live tensor.
        outputs: value ids of what `forward` returns.
        calls: those of all sublayers, an inner one before the one around it.
        strays: trainable parameters that are read and that no state dict of the network has.
    """

    ops: list[Op]
    shapes: dict[str, Shape]
    makers: dict[str, Op]
    parameters: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, paddle.Tensor] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    strays: list[paddle.Tensor] = field(default_factory=list)

    def ints(self, value: str) -> list[int] | None:
        """The integers a value holds when the program has them as a constant, else None."""
        maker = self.makers.get(value)
        if maker is None:
            return None
        if maker.name == "full_int_array":
            return [int(v) for v in maker.attrs["value"]]
        if maker.name == "full":
            return [int(maker.attrs["value"])]
        if maker.name in ("stack", "concat"):
            parts = [self.ints(part) for part in maker.inputs[0]]
            return None if any(part is None for part in parts) else [v for part in parts for v in part]
        return None


class CaptureError(Exception):
    """The forward pass failed while it was being captured.

    Attributes:
        graph: the operators that it got through.
        layer: path of the innermost layer whose call failed; "" for the network itself.
    """

    def __init__(self, cause: Exception, graph: Graph, layer: str = "") -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.graph = graph
        self.layer = layer

    @property
    def reason(self) -> str:
        """What is wrong, in which layer and line, and what helps where that is known."""
        where = [f"layer {self.layer!r}"] if self.layer else []
        where += [place] if (place := raised_at(self.cause)) else []
        said = known_reason(self.cause) or first_line(self.cause)
        return f"{said} ({', '.join(where)})" if where else said


@contextmanager
def inference_mode(model: nn.Layer) -> Iterator[None]:
    """All layers in eval mode and called as they were written, no gradients; then undone.

    SyncBatchNorm is computed locally, since it has no CPU kernel, and what `paddle.jit.to_static` made of a layer is
    not used: it cannot be traced within another program.
    """
    layers = model.sublayers(include_self=True)
    training = [layer.training for layer in layers]
    replaced = [(layer, vars(layer).get("forward"), plain) for layer in layers if (plain := _plain_forward(layer))]
    try:
        for layer in layers:
            layer.training = False
        for layer, _, plain in replaced:
            object.__setattr__(layer, "forward", plain)
        with paddle.no_grad():
            yield
    finally:
        for layer, flag in zip(layers, training, strict=True):
            layer.training = flag
        for layer, own, _ in replaced:
            if own is None:
                object.__delattr__(layer, "forward")
            else:
                object.__setattr__(layer, "forward", own)


def _plain_forward(layer: nn.Layer) -> Callable[..., object] | None:
    """What to call in place of a layer's `forward`; None for that itself."""
    if isinstance(layer.forward, StaticFunction):
        return layer.forward.dygraph_function
    if isinstance(layer, nn.SyncBatchNorm) and "forward" not in vars(layer):
        return _local_batch_norm(layer)
    return None


def _local_batch_norm(layer: nn.SyncBatchNorm) -> Callable[[paddle.Tensor], paddle.Tensor]:
    def forward(x: paddle.Tensor) -> paddle.Tensor:
        return F.batch_norm(
            x,
            layer._mean,
            layer._variance,
            layer.weight,
            layer.bias,
            epsilon=layer._epsilon,
            data_format=layer._data_format,
        )

    return forward


class _Recorder(nn.Layer):
    """Calls the network while the program is built, and notes which operators each layer's call adds.

    While it is built, a place in the program is the operator that is the last one then: how many there are takes Paddle
    a walk through all of them, and a tensor that is first used in the middle is put in front of all.
    """

    def __init__(self, model: nn.Layer, arguments: list[object]) -> None:
        super().__init__()
        self.model = model
        self.arguments = arguments
        self.program = None
        self.open: list[tuple[int, str, tuple[str, ...]]] = []
        self.closed: list[Call] = []
        self._sites: list[Site] = []
        self._counts: Counter[tuple[Site, str]] = Counter()

    @paddle.jit.not_to_static
    def forward(self, values):  # noqa: ANN001
        self.program = paddle.static.default_main_program()
        hooks = []
        for path, layer in self.model.named_sublayers():
            hooks.append(layer.register_forward_pre_hook(self._opener(path), with_kwargs=True))
            hooks.append(layer.register_forward_post_hook(self._close))
        try:
            return self.model(*describing.filled(self.arguments, values))
        finally:
            for hook in hooks:
                hook.remove()

    def _opener(self, path: str) -> Callable[..., None]:
        def note(_: nn.Layer, inputs: tuple, named: dict[str, object]) -> None:
            self.open.append((self._last(), path, _value_ids([*inputs, named])))
            around = self._sites[-1] if self._sites else ()
            self._sites.append((*around, (path, self._counts[around, path])))
            self._counts[around, path] += 1

        return note

    def _close(self, _: nn.Layer, inputs: tuple, outputs: object) -> None:
        start, path, given = self.open.pop()
        site = self._sites.pop()
        self.closed.append(Call(path, start, self._last(), given, _value_ids(outputs), site))

    def _last(self) -> int:
        """The identity of the last operator, -1 before the first."""
        block = self.program.global_block()
        return -1 if block.empty() else block.back().id()

    def recorded(self) -> tuple[list[Call], list[str]]:
        """The calls by the operators' places, and the innermost layer per operator.

        Calls that an error cut short are still open and own the last operators.
        """
        made = self.program.global_block().ops
        place = {-1: 0} | {op.id(): index + 1 for index, op in enumerate(made)}
        owners = [""] * len(made)
        for last, path, _ in self.open:
            owners[place[last] :] = [path] * (len(made) - place[last])
        calls = [replace(call, start=place[call.start], stop=place[call.stop]) for call in self.closed]
        for call in reversed(calls):  # an inner call closes before the call around it
            owners[call.start : call.stop] = [call.layer] * (call.stop - call.start)
        return calls, owners


def _value_ids(nested: object) -> tuple[str, ...]:
    """The ids of the values among nested arguments or results."""
    return tuple(str(value.id) for value in paddle.utils.flatten(nested) if hasattr(value, "get_defining_op"))


def capture(model: nn.Layer, inputs: Inputs, *, training: bool = False) -> Graph:
    """The operators of `model`'s forward pass in eval mode, for inputs of these shapes; the model is left as it was.

    Args:
        training: of a forward pass in training mode.

    Raises:
        CaptureError: the forward pass fails, or the images are smaller than a window.
    """
    recorder = _Recorder(model, describing.specs(inputs))
    with inference_mode(model), lean_builder(model):
        try:
            if training:
                model.train()
            values = describing.leaves(recorder.arguments)
            traced = paddle.jit.to_static(recorder.forward, input_spec=[values], full_graph=True)
            program = traced.concrete_program
        except UserError:
            raise
        except Exception as error:  # whatever the user's forward raises
            partial = Graph([], {}, {}) if recorder.program is None else _read(recorder.program, recorder.recorded()[1])
            raise CaptureError(error, partial, recorder.open[-1][1] if recorder.open else "") from error
    calls, owners = recorder.recorded()
    graph = _read(program.main_program, owners)
    _attach(graph, model, program.parameters)
    graph.outputs.extend(_value_ids(program.outputs))
    graph.calls.extend(calls)
    _refuse_empty(graph)
    return graph


def _refuse_empty(graph: Graph) -> None:
    """Paddle lets a window be one pixel larger than its image; all that follows computes nothing then."""
    for op in graph.ops:
        empty = next((graph.shapes[value] for value in op.outputs if 0 in graph.shapes[value]), None)
        if empty is not None and op.name in _WINDOWED:
            found = f"{op.owner or 'the network'}: {op.name} gives {list(empty)}"
            raise CaptureError(ValueError(f"{found}, an empty tensor; larger images are needed"), graph)


def capture_or_refuse(model: nn.Layer, inputs: Inputs) -> Graph:
    """As `capture`, for callers that can do nothing about a failure.

    Raises:
        UserError: the forward pass fails on such inputs, or it is no network.
    """
    describing.check_layer(model)
    try:
        return capture(model, inputs)
    except CaptureError as error:
        given = describing.told(inputs)
        raise UserError(f"the network's forward pass fails on inputs {given}: {error.reason}") from error


def _attach(graph: Graph, model: nn.Layer, parameters: tuple[list, list]) -> None:
    """Names the parameters as the state dict does; `tensors` is in the order in which the network registers them."""
    values = {id(tensor): str(value.id) for tensor, value in zip(*parameters, strict=True) if value.initialized()}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        value = values.pop(id(tensor), None)
        if value is not None:
            graph.parameters[value] = name
            graph.tensors[name] = tensor
    left = (tensor for tensor in parameters[0] if id(tensor) in values)
    graph.strays.extend(tensor for tensor in left if getattr(tensor, "trainable", False))


def _read(program: object, owners: list[str]) -> Graph:
    """Copies a program's block; lists of tensors (`combine` and `split` values) are resolved to their elements."""
    graph = Graph([], {}, {})
    block = program.global_block().ops
    lists: dict[str, tuple[str, ...]] = {}
    unpacked = {
        str(op.operands_source()[0].id): tuple(str(v.id) for v in op.results())
        for op in block
        if op.name() == "builtin.split"
    }
    for index, op in enumerate(block):
        name = op.name()
        outputs: list[str] = []
        for value in op.results():
            key = str(value.id)
            if value.is_dense_tensor_type():
                graph.shapes[key] = tuple(_shape_of(value))
                outputs.append(key)
            else:
                outputs.extend(unpacked.get(key, ()))
        operands = [str(v.id) if v.initialized() else None for v in op.operands_source()]
        if name == "builtin.combine":
            lists[str(op.results()[0].id)] = tuple(operands)
            continue
        if name in ("builtin.split", "builtin.parameter", "builtin.shadow_output"):
            continue
        attrs = {k: v for k, v in op.attrs().items() if k not in _SKIPPED_ATTRIBUTES}
        inputs = tuple(lists.get(key, unpacked.get(key, key)) if key else None for key in operands)
        copied = Op(index, name.split(".")[-1].rstrip("_"), inputs, tuple(outputs), attrs, owners[index])
        graph.ops.append(copied)
        graph.makers.update(dict.fromkeys(outputs, copied))
    return graph

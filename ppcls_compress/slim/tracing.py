"""Paddle's program builder, each use of it from a clean start: whatever traces or saves a network goes through here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import paddle

try:
    from paddle.jit.dy2static import parameter_recorder
except ImportError:  # Paddle 3.0 to 3.2 keep it here
    from paddle.jit.pir_dy2static import parameter_recorder


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


def save_program(model: paddle.nn.Layer, prefix: str, input_spec: Sequence[object] | None) -> None:
    """Write `<prefix>.json` and `<prefix>.pdiparams`, as `paddle.jit.save`.

    Args:
        model: in evaluation mode for a network that is to be run only.
        prefix: folder and file prefix.
        input_spec: InputSpecs or example tensors, one per argument of `forward`; None for a network that has them from
            `paddle.jit.to_static`.
    """
    with clean_builder(model):
        paddle.jit.save(model, prefix, input_spec=input_spec)

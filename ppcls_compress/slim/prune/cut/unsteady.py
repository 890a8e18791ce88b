"""Networks that compute something else each time: what they do, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import paddle
from paddle import nn

from ppcls_compress.slim.graph import CaptureError, Graph, Op, capture
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.places import own_place

_RANDOM = ("bernoulli", "binomial", "dirichlet", "dropout", "exponential", "gaussian", "multinomial", "poisson",
           "randint", "randperm", "rrelu", "standard_gamma", "truncated_gaussian_random", "uniform")  # fmt: skip


def random_operator(model: nn.Layer, inputs: Inputs, graph: Graph) -> str | None:
    """The first operator that draws random numbers in evaluation, with its layer and line; None if there is none."""
    op = next((op for op in graph.ops if _draws(op)), None)
    if op is None:
        return None
    with _callers() as places, suppress(CaptureError):  # another path this time: the line stays unknown
        capture(model, inputs)
    where = [f"layer {op.owner!r}"] if op.owner else []
    where += places[:1]
    return f"{op.name} ({', '.join(where)})" if where else op.name


def _draws(op: Op) -> bool:
    return _plain(op.name) in _RANDOM and not op.attrs.get("is_test", False)


def _plain(name: str) -> str:
    return name.rstrip("_").removesuffix("_inplace")


@contextmanager
def _callers() -> Iterator[list[str]]:
    """Within it, the lines of a network's own code that draw random numbers are collected."""
    operators = {name: call for name, call in vars(paddle._C_ops).items() if _plain(name) in _RANDOM}
    places: list[str] = []

    def noting(call: Callable[..., object]) -> Callable[..., object]:
        def operator(*arguments: object, **named: object) -> object:
            if (place := own_place()) is not None:
                places.append(place)
            return call(*arguments, **named)

        return operator

    vars(paddle._C_ops).update({name: noting(call) for name, call in operators.items()})
    try:
        yield places
    finally:
        vars(paddle._C_ops).update(operators)

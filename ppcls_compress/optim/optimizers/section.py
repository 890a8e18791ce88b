"""The `Optimizer` section: one optimizer for all parameters, or a list of them, each for its scope."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from ppcls_compress.declare import named
from ppcls_compress.optim.optimizers.base import OPTIMIZERS, Optimizer

_ENTRY = named(OPTIMIZERS, example="{name: Momentum, lr: {name: Cosine, learning_rate: 0.01}}")


def _entries(value: Any) -> list[Any]:
    """`{name: Name, ..}` is a list of one; entries of a list are `{Name: {scope: .., ..}}`, or have a `name` too."""
    if not isinstance(value, list | tuple):
        return [value]
    return [_by_name(entry) for entry in value]


def _by_name(entry: Any) -> Any:
    if not isinstance(entry, Mapping) or "name" in entry or len(entry) != 1:
        return entry
    ((name, options),) = entry.items()
    return {"name": name, **options} if isinstance(options, Mapping) else entry


def _each_scope_once(found: tuple[Optimizer, ...]) -> tuple[Optimizer, ...]:
    scopes = [options.scope for options in found]
    twice = next((scope for scope in scopes if scopes.count(scope) > 1), None)
    if twice is not None:
        raise ValueError(f"several optimizers, and more than one has scope {twice!r}; each needs another scope")
    return found


def _written(found: Sequence[Optimizer]) -> Any:
    plain = [{"name": OPTIMIZERS.name_of(one), **one.model_dump(mode="json")} for one in found]
    return plain[0] if len(plain) == 1 else plain


OptimizerSection = Annotated[
    tuple[_ENTRY, ...],
    Field(min_length=1),
    BeforeValidator(_entries),
    AfterValidator(_each_scope_once),
    PlainSerializer(_written),
]
"""A tuple of optimizers' options, from either form."""


def is_gentle(section: Sequence[Optimizer], epochs: int) -> bool:
    """Whether all learning rates of a training are at most `Optimizer.gentle`, but for rounding.

    Those of later epochs may be larger than what a schedule starts from; and where one counts steps, how many an epoch
    has is not known here, so that what it may reach counts too.
    """
    for one in section:
        rate, most = one.lr.rate(epochs=epochs, steps_per_epoch=_STEPS), one.gentle * (1 + 1e-6)
        if one.lr.highest > most or any(rate(step) > most for step in range(epochs * _STEPS)):
            return False
    return True


_STEPS = 100
"""Of an epoch, on a schedule that changes within it."""


def inert_options(section: Sequence[Optimizer]) -> Iterator[tuple[str, str]]:
    """The key of each option that is set in vain, with the reason."""
    for index, options in enumerate(section):
        where = "Optimizer" if len(section) == 1 else f"Optimizer.{index}.{OPTIMIZERS.name_of(options)}"
        for key, reason in options.inert():
            yield f"{where}.{key}", reason

"""What a step of the `Slim` section is: how it is taken, taken again from its record, dropped, and told.

A step `X` is a key of the section: its options are the field `X` of `SlimOptions`, in whose order steps are taken, and
`ppcls_compress/slim/X/step.py` has its `STEP`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import paddle

from ppcls_compress.errors import ConfigError
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.record import VERSION, Record

CALIBRATION_BATCHES = 8


@dataclass(frozen=True)
class Context:
    """What some options need of the training run that they are part of; None where it is not to be had.

    Attributes:
        batches: gives training batches [N, C, H, W], for the ranges of activations and batch-norm statistics.
        calibration: gives batches prepared as for evaluation, for the ranges of activations; None takes `batches`.
        calibration_batches: how many batches the ranges are found from.
        gradients: runs backward passes over training batches, for a criterion that needs them.
        latency: milliseconds that a network takes, for `target_latency_ms`.
        epochs: how many the training that follows has; None where none does, or nobody knows.
        gentle: whether the learning rate of these is that of a fine-tuning.
        settled: whether the weights come from a training as they are; False once they were pruned since.
        shown: hands items on one after the other and shows how far it is; the text says what is done to them.
        train: trains a network between two iterations of `iterative`; its second argument is the record so far.
    """

    batches: Callable[[], Iterable[paddle.Tensor]] | None = None
    calibration: Callable[[], Iterable[paddle.Tensor]] | None = None
    calibration_batches: int = CALIBRATION_BATCHES
    gradients: Callable[[paddle.nn.Layer], None] | None = None
    latency: Callable[[paddle.nn.Layer], float] | None = None
    train: Callable[[paddle.nn.Layer, Record], None] | None = None
    epochs: int | None = None
    gentle: bool = True
    settled: bool = True
    shown: Callable[[Sequence[str], str], Iterable[str]] = lambda items, what: items


Take = Callable[[paddle.nn.Layer, Any, Inputs, Record, Context], tuple[paddle.nn.Layer, Record]]
"""(model, options, shapes of its inputs, record, context) -> the model changed, and the record with this step too."""


def _nothing_needed(options: Any, record: Record, context: Context) -> None:
    pass


def _fits_all(model: paddle.nn.Layer, options: Any, record: Record, context: Context) -> Context:
    return context


def _fits(model: paddle.nn.Layer, record: Record) -> str | None:
    return None


@dataclass(frozen=True)
class Step:
    """One kind of step.

    Attributes:
        kind: the key in the section, and what a record calls its steps.
        verb: what is done to a network, `prune`; and `done`, what its weights are then, `pruned`.
        take: does what the record lacks.
        rebuild: (fresh model, the record's step, the user's classes or None) -> the model in the structure of the step,
            ready for a strict load.
        misfit: (model, record) -> the first thing of a model that is not as the record's steps of this kind left it, or
            None; cheap, nothing is computed.
        describe: what a step of a record did, in lines for the user.
        check: refuses options that need what the context does not have, before any step is taken.
        foresee: refuses options and data that do not fit the network, while the steps before this one are still to be
            taken; gives the context to go on with.
        iterations: how many steps of a record the options make.
        drop: (model, the record's step) -> the model without it, what is left of the step or None, a line for the user;
            None where it cannot be undone, and stays when the section no longer asks for it.
        training: options that change how a model trains, and neither its structure nor its numbers.
        silent: those of the options that were left to their defaults; what a record says of them then holds.
        resizes: whether it changes how many parameters and multiply-adds there are.
        yaml_key: a field of the options -> how a YAML writes it.
    """

    kind: str
    verb: str
    done: str
    take: Take
    rebuild: Callable[[paddle.nn.Layer, Record, Any], paddle.nn.Layer]
    describe: Callable[[Record], list[str]]
    check: Callable[[Any, Record, Context], None] = _nothing_needed
    misfit: Callable[[paddle.nn.Layer, Record], str | None] = _fits
    foresee: Callable[[paddle.nn.Layer, Any, Record, Context], Context] = _fits_all
    iterations: Callable[[Any], int] = lambda options: 1
    drop: Callable[[paddle.nn.Layer, Record], tuple[paddle.nn.Layer, Record | None, str]] | None = None
    training: Collection[str] = frozenset()
    silent: Callable[[Any], Collection[str]] = lambda options: ()
    resizes: bool = False
    yaml_key: Callable[[str], str] = str

    def lacking(self, options: Any, record: Record) -> bool:
        """Whether a record lacks some of what the options ask for; None asks for nothing."""
        return options is not None and len(self.of(record)) < self.iterations(options)

    def of(self, record: Record) -> list[Record]:
        """The record's steps of this kind."""
        return [step for step in record["steps"] if step["kind"] == self.kind]


def some(lines: Sequence[str]) -> list[str]:
    """The lines, or the first of them and how many more there are: the record has all."""
    if len(lines) <= _SHOWN + 1:
        return list(lines)
    return [*lines[:_SHOWN], f"  ... and {len(lines) - _SHOWN} more like that; the record (.slim.json) has all"]


_SHOWN = 3


def with_step(record: Record, step: Record) -> Record:
    """The record with a further step."""
    return {"version": VERSION, "steps": [*record["steps"], step]}


@contextlib.contextmanager
def section_named(section: str) -> Iterator[None]:
    """Errors about an option, which start with its key where `slim` is used as a library, get the section before it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(str(error) if str(error).startswith(section) else f"{section}.{error}") from error

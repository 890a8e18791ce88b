"""The `Slim` section as ordered steps: prune, then quantize; each step leaves its record.

A compression record is plain JSON, `{"version": 1, "steps": [...]}`, in the order in which the steps were taken. It is
saved beside the weights, and rebuilds their exact structure on a fresh dense model.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

import paddle

from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.slim import quant
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.options import SlimOptions
from ppcls_compress.slim.options.quant import CLASSES
from ppcls_compress.slim.paddleslim import prune_backend, quant_backend  # noqa: F401  they register as backends
from ppcls_compress.slim.record import VERSION, Record, empty_record, step_of
from ppcls_compress.slim.restoring import put_back_on_failure
from ppcls_compress.slim.steps import CALIBRATION_BATCHES, Context, Step, section_named
from ppcls_compress.slim.strays import refuse_strays

__all__ = [
    "CALIBRATION_BATCHES",
    "STEPS",
    "Context",
    "Record",
    "check_fits",
    "compress",
    "describe",
    "dropped",
    "empty_record",
    "foresee",
    "keep_wanted",
    "named_classes",
    "pending",
    "rebuild",
    "resized",
    "step_of",
    "with_training_options",
]

STEPS: Mapping[str, Step] = {
    field.name: importlib.import_module(f"ppcls_compress.slim.{field.name}.step").STEP for field in fields(SlimOptions)
}
"""What each key of the section does, in the order in which it is done."""


def rebuild(model: paddle.nn.Layer, record: Record, *, custom: quant.CustomParts | None = None) -> paddle.nn.Layer:
    """A fresh dense model in the structure that `record` tells, ready for a strict load.

    Args:
        custom: the user's classes that the record names; it never has them imported itself.

    Raises:
        UserError: the record is of another version, does not fit the model, or names other classes.
    """
    if record.get("version") != VERSION:
        raise UserError(f"compression record: version {record.get('version')!r} found, {VERSION} is known here")
    for step in record["steps"]:
        kind = step["kind"]
        model = quant.apply_fold(model, step) if kind == "fold" else STEPS[kind].rebuild(model, step, custom)
    return model


def check_fits(model: paddle.nn.Layer, record: Record) -> None:
    """Find out whether a record can be that of a network; shapes and names are looked at, nothing is computed.

    Raises:
        UserError: it is that of another one; names the first parameter with both shapes, or the first layer.
    """
    for step in STEPS.values():
        if (problem := step.misfit(model, record)) is not None:
            raise UserError(f"the record is not that of this network: {problem}")


def named_classes(options: SlimOptions, record: Record) -> quant.CustomParts | None:
    """The user's classes that rebuilding `record` takes, as the options name them.

    A record comes with weights from anywhere, and must not have code run: what it names is compared, and what the
    options name is imported.

    Raises:
        UserError: the options name others, or one cannot be imported.
    """
    step = step_of(record, "quant")
    if step is None:
        return None
    for key in CLASSES:
        found, given = step["options"].get(key), getattr(options.quant, key, None)
        if found != given:
            advice = f"set it to {found}, if you trust that code" if found else "leave it out"
            raise ConfigError(
                f"Slim.quant.{key}: the weights were made with {found or 'none'}, the configuration says "
                f"{given or 'nothing'}; {advice}"
            )
    if options.quant is None:
        return None
    with section_named("Slim.quant"):
        return quant.named_classes(options.quant)


def keep_wanted(
    model: paddle.nn.Layer, options: SlimOptions, record: Record
) -> tuple[paddle.nn.Layer, Record, list[str]]:
    """Square a model that was rebuilt from its record with what is asked for now.

    A pruned structure always stays: the removed channels are gone. Quantization that is not asked for is dropped, and
    the trained float weights are kept; branches that it merged and batch norms that it folded stay so, and a step
    `fold` tells.

    Returns:
        The model, its record, and a line for the user about each thing dropped.

    Raises:
        UserError: an option contradicts the record, or a step is asked for after one that must follow it.
    """
    notes = []
    for kind in dropped(options, record):
        step = step_of(record, kind)
        model, left, note = STEPS[kind].drop(model, step)
        steps = [left if other is step else other for other in record["steps"]]
        record = {**record, "steps": [other for other in steps if other is not None]}
        notes.append(note)
    for kind, step in STEPS.items():
        wanted, found = getattr(options, kind), step_of(record, kind)
        if wanted is not None and found is not None:
            _refuse_contradiction(step, wanted, found["options"])
        if wanted is not None and found is None:
            _refuse_late(step, record)
    return model, record, notes


def dropped(options: SlimOptions, record: Record) -> list[str]:
    """The kinds of step that a record has, that are not asked for, and that can be undone."""
    can = [kind for kind, step in STEPS.items() if step.drop is not None and getattr(options, kind) is None]
    return [kind for kind in can if step_of(record, kind) is not None]


def resized(record: Record) -> Record:
    """The record with those of its steps alone that change how many parameters and multiply-adds there are."""
    resizing = {kind for kind, step in STEPS.items() if step.resizes}
    return {**record, "steps": [step for step in record["steps"] if step["kind"] in resizing]}


def _refuse_late(step: Step, record: Record) -> None:
    """Refuse a step that comes before one that the weights have already."""
    kinds = list(STEPS)
    for later in kinds[kinds.index(step.kind) + 1 :]:
        if step_of(record, later) is not None:
            other = STEPS[later]
            raise UserError(
                f"Slim.{step.kind}: the weights are {other.done} already; {step.verb} first, then {other.verb}"
            )


def pending(options: SlimOptions, record: Record) -> list[str]:
    """The kinds of step that are asked for and that a record lacks, in their order."""
    return [kind for kind, step in STEPS.items() if step.lacking(getattr(options, kind), record)]


def with_training_options(record: Record, options: SlimOptions) -> Record:
    """The record with those options as they are wanted now that change how a model trains and not what it is.

    What is left to its default stays as the record has it: a run that goes on does so as it began, and defaults may
    have been others then. A step that other options contradict stays as it is, for `keep_wanted` to refuse.
    """
    steps = []
    for step in record["steps"]:
        wanted = getattr(options, step["kind"], None)
        kind = STEPS[step["kind"]] if wanted is not None else None
        if kind is None or _contradiction(kind, wanted, step["options"]):
            steps.append(step)
            continue
        said = {key: value for key, value in _said(kind, wanted).items() if key in kind.training}
        known = {key: value for key, value in said.items() if key in step["options"]}
        steps.append({**step, "options": {**step["options"], **known}})
    return {**record, "steps": steps}


def compress(
    model: paddle.nn.Layer,
    options: SlimOptions,
    inputs: Inputs,
    *,
    record: Record | None = None,
    context: Context | None = None,
) -> tuple[paddle.nn.Layer, Record]:
    """Take the steps of `options` that `record` does not have yet.

    Args:
        model: dense, or in the structure of `record`; changed in place where it can be. Where a step fails, it is what
            it was before the call, bit for bit, whatever the steps before it did.
        options: which steps, and how.
        inputs: shapes of the network's inputs, `[[1, C, H, W]]`.
        record: what was done to the model before; None for a dense model.
        context: data and functions that the options may need.

    Returns:
        The smaller model and the whole record.

    Raises:
        UserError: nothing can be pruned or quantized, an option needs what `context` does not have, or weights that the
            forward pass reads are no part of the network, as those of layers in a plain list.
    """
    record = record or empty_record()
    context = context or Context()
    missing = pending(options, record)
    refuse_strays(model, inputs)
    for kind in missing:
        STEPS[kind].check(getattr(options, kind), record, context)
    if not missing:
        return model, record
    with put_back_on_failure(model):
        context = foresee(model, options, record, context)
        for kind in missing:
            model, record = STEPS[kind].take(model, getattr(options, kind), inputs, record, context)
            context = replace(context, settled=context.settled and not STEPS[kind].resizes)
        # Calibration may have been the first forward pass, in which some networks make layers.
        refuse_strays(model, inputs)
    return model, record


def foresee(model: paddle.nn.Layer, options: SlimOptions, record: Record, context: Context) -> Context:
    """Refuse steps that could only fail after those before them: a cut, and the training between its iterations.

    Args:
        model: in the structure of `record`; not changed.

    Returns:
        The context to go on with, which gives the batches that were looked at again.

    Raises:
        UserError: the options or the data of a step that is not the next one do not fit the network.
    """
    for kind in pending(options, record)[1:]:
        context = STEPS[kind].foresee(model, getattr(options, kind), record, context)
    return context


def describe(step: Record) -> list[str]:
    """What a step did, in lines for the user."""
    return STEPS[step["kind"]].describe(step)


def _refuse_contradiction(step: Step, wanted: Any, found: Record) -> None:
    key = _contradiction(step, wanted, found)
    if key is not None:
        raise UserError(
            f"Slim.{step.kind}.{step.yaml_key(key)}: the weights were made with {found[key]!r}, "
            f"the configuration says {asdict(wanted)[key]!r}; make them equal, or start from other weights"
        )


def _said(step: Step, wanted: Any) -> Record:
    """The options but those that were left to their defaults."""
    silent = step.silent(wanted)
    return {key: value for key, value in asdict(wanted).items() if key not in silent}


def _contradiction(step: Step, options: Any, found: Record) -> str | None:
    """The first option that says what a model is, and differs."""
    wanted, found = json.loads(json.dumps([_said(step, options), found]))  # tuples and lists compare equal
    shared = (key for key in wanted if key in found and key not in step.training)
    return next((key for key in shared if found[key] != wanted[key]), None)

"""The `Slim` section as ordered steps: prune, then quantize; each step leaves its record.

A compression record is plain JSON, `{"version": 1, "steps": [...]}`, in the order in which the steps were taken. It is
saved beside the weights, and rebuilds their exact structure on a fresh dense model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.slim import prune, quant
from ppcls_compress.slim.options import SlimOptions

Record = dict[str, Any]
Inputs = Sequence[Any]
VERSION = 1


def empty_record() -> Record:
    """The record of a dense model."""
    return {"version": VERSION, "steps": []}


def step_of(record: Record, kind: str) -> Record | None:
    """The record's step of a kind, `prune` or `quant`, or None."""
    return next((step for step in record["steps"] if step["kind"] == kind), None)


def rebuild(model: paddle.nn.Layer, record: Record) -> paddle.nn.Layer:
    """A fresh dense model in the structure that `record` tells, ready for a strict load.

    Raises:
        UserError: the record is of another version, or does not fit the model.
    """
    if record.get("version") != VERSION:
        raise UserError(f"compression record: version {record.get('version')!r} found, {VERSION} is known here")
    for step in record["steps"]:
        model = (prune if step["kind"] == "prune" else quant).apply_record(model, step)
    return model


def keep_wanted(
    model: paddle.nn.Layer, options: SlimOptions, record: Record
) -> tuple[paddle.nn.Layer, Record, list[str]]:
    """Square a model that was rebuilt from its record with what is asked for now.

    A pruned structure always stays: the removed channels are gone. Quantization that is not asked for is dropped, and
    the trained float weights are kept.

    Returns:
        The model, its record, and a line for the user about each thing dropped.

    Raises:
        UserError: an option contradicts the record, or pruning is asked for after quantization.
    """
    notes = []
    if options.quant is None and step_of(record, "quant"):
        model = quant.convert(model)
        record = {**record, "steps": [step for step in record["steps"] if step["kind"] != "quant"]}
        notes.append("quantization in the weights is not asked for: dropped, float weights kept")
    for kind, wanted in (("prune", options.prune), ("quant", options.quant)):
        found = step_of(record, kind)
        if wanted is not None and found is not None:
            _refuse_contradiction(kind, asdict(wanted), found["options"])
    if options.prune is not None and step_of(record, "prune") is None and step_of(record, "quant") is not None:
        raise UserError("Slim.prune: the weights are quantized already; prune first, then quantize")
    return model, record, notes


def compress(
    model: paddle.nn.Layer,
    options: SlimOptions,
    inputs: Inputs,
    *,
    record: Record | None = None,
    calibration: Callable[[], Iterable[paddle.Tensor]] | None = None,
) -> tuple[paddle.nn.Layer, Record]:
    """Take the steps of `options` that `record` does not have yet.

    Args:
        model: dense, or in the structure of `record`; changed in place where it can be.
        options: which steps, and how.
        inputs: shapes of the network's inputs, `[[1, C, H, W]]`.
        record: what was done to the model before; None for a dense model.
        calibration: gives batches [N, C, H, W] for the ranges of activations; needed for quantization.

    Returns:
        The smaller model and the whole record.

    Raises:
        UserError: nothing can be pruned or quantized, or quantization has no calibration data. The model is unchanged.
    """
    steps = list((record or empty_record())["steps"])
    if options.quant is not None and not any(step["kind"] == "quant" for step in steps) and calibration is None:
        raise UserError("Slim.quant: quantization needs calibration batches; train first, or give a data loader")
    if options.prune is not None and not any(step["kind"] == "prune" for step in steps):
        model, step = prune.prune(model, options.prune, inputs)
        steps.append(step)
    if options.quant is not None and not any(step["kind"] == "quant" for step in steps):
        model, step = quant.prepare(model, options.quant, inputs=inputs)
        quant.calibrate(model, calibration())
        steps.append(step)
    return model, {"version": VERSION, "steps": steps}


def describe(step: Record) -> list[str]:
    """What a step did, in lines for the user."""
    return _describe_prune(step) if step["kind"] == "prune" else _describe_quant(step)


def _describe_prune(step: Record) -> list[str]:
    before, after = step["before"], step["after"]
    changes = ", ".join(
        f"{name} {before[key]:,} -> {after[key]:,} ({100 * (after[key] / before[key] - 1):+.1f}%)"
        for key, name in (("params", "parameters"), ("flops", "FLOPs (multiply-adds)"))
    )
    whole = [f"  left whole: {pin['layer']} ({pin['op']}: {pin['reason']})" for pin in step["pinned"]]
    return [f"pruned by {step['options']['name']}: {changes}", *whole]


def _describe_quant(step: Record) -> list[str]:
    options = step["options"]
    bits = f"{options['weight_bits']}-bit weights, {options['activation_bits']}-bit activations"
    skipped = [f"  not quantized: {skip['layer']} ({skip['type']}: {skip['reason']})" for skip in step["skipped"]]
    names = ", ".join(step["quantized"])
    return [f"quantized by {options['name']}, {bits}: {len(step['quantized'])} layers: {names}", *skipped]


def _refuse_contradiction(kind: str, wanted: Record, found: Record) -> None:
    wanted, found = json.loads(json.dumps([wanted, found]))  # tuples and lists compare equal
    for key, value in wanted.items():
        if key in found and found[key] != value:
            raise UserError(
                f"Slim.{kind}.{key}: the weights were made with {found[key]!r}, the configuration says {value!r}; "
                f"make them equal, or start from other weights"
            )

"""The `Slim` section as ordered steps: prune, then quantize; each step leaves its record.

A compression record is plain JSON, `{"version": 1, "steps": [...]}`, in the order in which the steps were taken. It is
saved beside the weights, and rebuilds their exact structure on a fresh dense model.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import paddle

from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.slim import prune, quant
from ppcls_compress.slim.options import PruneOptions, SlimOptions
from ppcls_compress.slim.options.prune import yaml_key
from ppcls_compress.slim.options.quant import CLASSES
from ppcls_compress.slim.paddleslim import prune_backend, quant_backend  # noqa: F401  they register as backends
from ppcls_compress.slim.prune.choose.criteria import CRITERIA
from ppcls_compress.slim.record import VERSION, Record, empty_record, step_of

Inputs = Sequence[Any]
CALIBRATION_BATCHES = 8

# Options that change how a model trains, and neither its structure nor its numbers.
_TRAINING = frozenset(
    {
        "alpha_learning_rate",
        "alpha_weight_decay",
        "bn_recalibration",
        "freeze_bn_epoch",
        "observer_epochs",
        "verify",
    }
)


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
        more = {"custom": custom} if step["kind"] == "quant" else {}
        model = _REBUILDING[step["kind"]](model, step, **more)
    return model


_REBUILDING = {"prune": prune.apply_record, "quant": quant.apply_record, "fold": quant.apply_fold}


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
    with _section_named("Slim.quant"):
        return quant.named_classes(options.quant)


@contextlib.contextmanager
def _section_named(section: str) -> Iterator[None]:
    """Errors about an option, which start with its key where `slim` is used as a library, get the section before it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(str(error) if str(error).startswith(section) else f"{section}.{error}") from error


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
        UserError: an option contradicts the record, or pruning is asked for after quantization.
    """
    notes = []
    quantized = step_of(record, "quant")
    if options.quant is None and quantized is not None:
        model, left = quant.convert(model), quant.fold_step(quantized)
        steps = [left if step is quantized else step for step in record["steps"]]
        record = {**record, "steps": [step for step in steps if step is not None]}
        merged = ", branches stay merged" if quantized.get("merged") else ""
        folded = ", batch norms stay folded" if quantized["folded"] else ""
        notes.append(f"quantization in the weights is not asked for: dropped, float weights kept{merged}{folded}")
    for kind, wanted in (("prune", options.prune), ("quant", options.quant)):
        found = step_of(record, kind)
        if wanted is not None and found is not None:
            _refuse_contradiction(kind, asdict(wanted), found["options"])
    if options.prune is not None and step_of(record, "prune") is None and step_of(record, "quant") is not None:
        raise UserError("Slim.prune: the weights are quantized already; prune first, then quantize")
    return model, record, notes


@dataclass(frozen=True)
class Context:
    """What some options need of the training run that they are part of; None where it is not to be had.

    Attributes:
        batches: gives training batches [N, C, H, W], for the ranges of activations and batch-norm statistics.
        calibration_batches: how many of them the ranges are found from.
        gradients: runs backward passes over training batches, for a criterion that needs them.
        latency: milliseconds that a network takes, for `target_latency_ms`.
        train: trains a network between two iterations of `iterative`; its second argument is the record so far.
    """

    batches: Callable[[], Iterable[paddle.Tensor]] | None = None
    calibration_batches: int = CALIBRATION_BATCHES
    gradients: Callable[[paddle.nn.Layer], None] | None = None
    latency: Callable[[paddle.nn.Layer], float] | None = None
    train: Callable[[paddle.nn.Layer, Record], None] | None = None


def pending(options: SlimOptions, record: Record) -> list[str]:
    """The kinds of step, `prune` and `quant`, that are asked for and that a record lacks, in their order."""
    iterations = options.prune.iterative.steps if options.prune and options.prune.iterative else 1
    pruned = sum(step["kind"] == "prune" for step in record["steps"])
    missing = ["prune"] if options.prune is not None and pruned < iterations else []
    return [*missing, "quant"] if options.quant is not None and step_of(record, "quant") is None else missing


def with_training_options(record: Record, options: SlimOptions) -> Record:
    """The record with those options as they are wanted now that change how a model trains and not what it is.

    A step that other options contradict stays as it is, for `keep_wanted` to refuse.
    """
    steps = []
    for step in record["steps"]:
        wanted = getattr(options, step["kind"], None)
        if wanted is None or _contradiction(asdict(wanted), step["options"]):
            steps.append(step)
            continue
        current = {key: value for key, value in asdict(wanted).items() if key in _TRAINING}
        known = {key: value for key, value in current.items() if key in step["options"]}
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
        model: dense, or in the structure of `record`; changed in place where it can be.
        options: which steps, and how.
        inputs: shapes of the network's inputs, `[[1, C, H, W]]`.
        record: what was done to the model before; None for a dense model.
        context: data and functions that the options may need.

    Returns:
        The smaller model and the whole record.

    Raises:
        UserError: nothing can be pruned or quantized, or an option needs what `context` do not have.
    """
    record = record or empty_record()
    context = context or Context()
    quantize = "quant" in pending(options, record)
    if quantize and context.batches is None:
        raise UserError("Slim.quant: quantization needs calibration batches; train first, or give a data loader")
    if options.prune is not None:
        model, record = _prune(model, options.prune, inputs, record, context)
    if quantize:
        with _section_named("Slim.quant"):
            custom = quant.named_classes(options.quant)
            model, step = quant.prepare(model, options.quant, inputs=inputs, custom=custom)
        quant.calibrate(model, itertools.islice(context.batches(), context.calibration_batches))
        record = _with_step(record, step)
    return model, record


def _prune(
    model: paddle.nn.Layer, options: PruneOptions, inputs: Inputs, record: Record, context: Context
) -> tuple[paddle.nn.Layer, Record]:
    """The iterations of pruning that the record lacks; a single one unless `iterative` says otherwise."""
    iterations = options.iterative.steps if options.iterative else 1
    done = sum(step["kind"] == "prune" for step in record["steps"])
    if done < iterations:
        _check_context(options, iterations - done, context)
    for iteration in range(done, iterations):
        if CRITERIA.get(options.name).needs_gradients:
            context.gradients(model)
        earlier = [step for step in record["steps"] if step["kind"] == "prune"]
        with _section_named("Slim.prune"):
            model, step = prune.prune(model, options, inputs, latency=context.latency, earlier=earlier)
        for parameter in model.parameters():
            parameter.clear_gradient(False)  # those of a criterion are no part of the training that follows
        if options.bn_recalibration:
            prune.recalibrate(model, itertools.islice(context.batches(), options.bn_recalibration))
        record = _with_step(record, step)
        if iteration + 1 < iterations:
            context.train(model, record)
    return model, record


def _check_context(options: PruneOptions, iterations: int, context: Context) -> None:
    gradients = CRITERIA.get(options.name).needs_gradients
    needs = {
        "bn_recalibration": (options.bn_recalibration, context.batches, "training batches"),
        "name": (gradients, context.gradients, f"training batches for the gradients of {options.name}"),
        "target_latency_ms": (options.target_latency_ms, context.latency, "a function that measures latency"),
        "iterative": (iterations > 1, context.train, "training between its steps"),
    }
    for key, (wanted, given, what) in needs.items():
        if wanted and given is None:
            raise UserError(f"Slim.prune.{key}: needs {what}, which only tools/train.py has; train first")


def _with_step(record: Record, step: Record) -> Record:
    return {"version": VERSION, "steps": [*record["steps"], step]}


def describe(step: Record) -> list[str]:
    """What a step did, in lines for the user."""
    return _describe_prune(step) if step["kind"] == "prune" else _describe_quant(step)


def _describe_prune(step: Record) -> list[str]:
    before, after = step["before"], step["after"]
    changes = ", ".join(
        f"{name} {before[key]:,} -> {after[key]:,} ({100 * (after[key] / before[key] - 1):+.1f}%)"
        for key, name in (("params", "parameters"), ("flops", "FLOPs (multiply-adds)"))
    )
    whole = [f"  left whole: {pin['layer']} ({_reason(pin)})" for pin in step["pinned"]]
    return [f"pruned by {step['options']['name']}: {changes}", *whole]


def _reason(pin: Record) -> str:
    return f"{pin['op']}: {pin['reason']}" if pin["op"] and not pin["reason"].startswith(pin["op"]) else pin["reason"]


def _describe_quant(step: Record) -> list[str]:
    options = step["options"]
    bits = f"{options['weight_bits']}-bit weights, {options['activation_bits']}-bit activations"
    skipped = [f"  not quantized: {skip['layer']} ({skip['type']}: {skip['reason']})" for skip in step["skipped"]]
    names = ", ".join(step["quantized"])
    places = (
        [f"{len(step['places'])} tensors are rounded in training as in an integer graph"] if "places" in step else []
    )
    unlearned = [
        f"  not rounded, in training or when exported: {item['op']} in {item['layer'] or 'the network'}, "
        "which no layer gives by itself"
        for item in step.get("unlearned", ())
    ]
    first = f"quantized by {options['name']}, {bits}: {len(step['quantized'])} layers: {names}"
    merged = step.get("merged", ())
    branches = [f"branches merged into one convolution first: {', '.join(merged)}"] if merged else []
    normed = step.get("normed", ())
    plain = [f"  weights that a norm computed are parameters now: {', '.join(normed)}"] if normed else []
    return [*branches, first, *skipped, *plain, *places, *unlearned]


def _refuse_contradiction(kind: str, wanted: Record, found: Record) -> None:
    key = _contradiction(wanted, found)
    if key is not None:
        raise UserError(
            f"Slim.{kind}.{yaml_key(key)}: the weights were made with {found[key]!r}, "
            f"the configuration says {wanted[key]!r}; make them equal, or start from other weights"
        )


def _contradiction(wanted: Record, found: Record) -> str | None:
    """The first option that says what a model is, and differs."""
    wanted, found = json.loads(json.dumps([wanted, found]))  # tuples and lists compare equal
    shared = (key for key in wanted if key in found and key not in _TRAINING)
    return next((key for key in shared if found[key] != wanted[key]), None)

"""Pruning as a step of the `Slim` section, in one iteration or several."""

from __future__ import annotations

import itertools

import paddle

from ppcls_compress.errors import UserError
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.options.prune import PruneOptions, yaml_key
from ppcls_compress.slim.prune.choose.criteria import CRITERIA
from ppcls_compress.slim.prune.cut.recalibration import recalibrate
from ppcls_compress.slim.prune.pruner import prune
from ppcls_compress.slim.prune.record import apply_record, misfit
from ppcls_compress.slim.record import Record
from ppcls_compress.slim.steps import Context, Step, section_named, some, with_step


def _iterations(options: PruneOptions) -> int:
    return options.iterative.steps if options.iterative else 1


def _check(options: PruneOptions, record: Record, context: Context) -> None:
    gradients, left = CRITERIA.get(options.name).needs_gradients, _iterations(options) - len(STEP.of(record))
    needs = {
        "bn_recalibration": (options.bn_recalibration, "batches", "training batches"),
        "name": (gradients, "gradients", f"training batches for the gradients of {options.name}"),
        "target_latency_ms": (options.target_latency_ms, "latency", "a function that measures latency"),
        "iterative": (left > 1, "train", "training between its steps"),
    }
    for key, (wanted, argument, what) in needs.items():
        if wanted and getattr(context, argument) is None:
            raise UserError(
                f"Slim.prune.{key}: needs {what}, which of the commands only train has: train first; in Python give "
                f"{argument}=..."
            )


def _take(
    model: paddle.nn.Layer, options: PruneOptions, inputs: Inputs, record: Record, context: Context
) -> tuple[paddle.nn.Layer, Record]:
    """The iterations that the record lacks, with training between them."""
    iterations = _iterations(options)
    for iteration in range(len(STEP.of(record)), iterations):
        if CRITERIA.get(options.name).needs_gradients:
            context.gradients(model)
        with section_named("Slim.prune"):
            model, step = prune(model, options, inputs, latency=context.latency, earlier=STEP.of(record))
        for parameter in model.parameters():
            parameter.clear_gradient(False)  # those of a criterion are no part of the training that follows
        if options.bn_recalibration:
            recalibrate(model, itertools.islice(context.batches(), options.bn_recalibration))
        record = with_step(record, step)
        if iteration + 1 < iterations:
            context.train(model, record)
    return model, record


def _misfit(model: paddle.nn.Layer, record: Record) -> str | None:
    own = STEP.of(record)
    return misfit(model, own, changed_since=len(own) < len(record["steps"]))


def _rebuild(model: paddle.nn.Layer, step: Record, custom: object) -> paddle.nn.Layer:
    return apply_record(model, step)


def _describe(step: Record) -> list[str]:
    before, after = step["before"], step["after"]
    changes = ", ".join(
        f"{name} {before[key]:,} -> {after[key]:,} ({100 * (after[key] / before[key] - 1):+.1f}%)"
        for key, name in (("params", "parameters"), ("flops", "FLOPs (multiply-adds)"))
    )
    whole = [f"  left whole: {pin['layer']} ({_reason(pin)})" for pin in step["pinned"]]
    return [f"pruned by {step['options']['name']}: {changes}", *some(whole)]


def _reason(pin: Record) -> str:
    return f"{pin['op']}: {pin['reason']}" if pin["op"] and not pin["reason"].startswith(pin["op"]) else pin["reason"]


STEP = Step(
    kind="prune",
    verb="prune",
    done="pruned",
    take=_take,
    rebuild=_rebuild,
    describe=_describe,
    misfit=_misfit,
    check=_check,
    iterations=_iterations,
    training=frozenset({"bn_recalibration", "verify"}),
    resizes=True,
    yaml_key=yaml_key,
)

"""How networks were trained: loss, the metric that chose the best epoch, and the learning rate, by epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ppcls_compress.engine.hooks.evaluation import is_fraction
from ppcls_compress.report.charts.drawing import Drawing, Point
from ppcls_compress.report.charts.kinds import Frame, curves
from ppcls_compress.report.page.html import Beside, Section
from ppcls_compress.report.page.runs import Epoch, Run


def section(runs: Sequence[Run]) -> Section | None:
    """The curves of all runs that have some, in the same charts; None where none has."""
    trained = [run for run in runs if run.history]
    if not trained:
        return None
    main = next((epoch.main for run in trained for epoch in run.history if epoch.evaluation), None)
    losses = {"training": lambda epoch: epoch.loss, "validation": _evaluated_loss}
    found = [
        _chart(trained, "loss", losses, log=True),
        _chart(trained, "learning rate", {"learning rate": lambda epoch: epoch.lr}),
    ]
    if main is not None:
        factor, unit = (100, " %") if is_fraction(main) else (1, "")
        measured = {
            "training": lambda epoch: _scaled(epoch.metrics.get(main), factor),
            "validation": lambda epoch: _scaled(epoch.evaluation.get(main), factor),
        }
        found.insert(1, _chart(trained, f"{main}{unit}", measured))
    return Section("Training", [Beside([chart for chart in found if chart is not None])])


def best(history: Sequence[Epoch]) -> tuple[str, str] | None:
    """The value of the best epoch, and what it is, as a card has it; None where none was evaluated."""
    last = history[-1]
    found = next((epoch.evaluation for epoch in history if epoch.number == last.best_epoch), {})
    if last.main not in found:
        return None
    value = found[last.main]
    told = f"{100 * value:.2f}%" if is_fraction(last.main) else f"{value:.4g}"
    return told, f"{last.main} in epoch {last.best_epoch}, the best of {len(history)}"


def _chart(
    runs: Sequence[Run], up: str, values: dict[str, Callable[[Epoch], float | None]], *, log: bool = False
) -> Drawing | None:
    """Of one run every kind of value, of several runs the last that there is of each, which is of validation images."""
    lines: dict[str, Sequence[Point]] = {}
    for run in runs:
        found = {name: _line(run, value) for name, value in values.items()}
        found = {name: line for name, line in found.items() if line}
        if len(runs) == 1:
            lines |= found
        elif found:
            lines[run.name] = found[next(iter(found))] if up == "loss" else list(found.values())[-1]
    return curves(lines, Frame(f"{up} by epoch", "epoch", up, log_up=log)) if lines else None


def _line(run: Run, value: Callable[[Epoch], float | None]) -> list[Point]:
    """A point for each epoch whose value is a number; a loss on validation images may be infinite, or none."""
    found = ((epoch.number, value(epoch)) for epoch in run.history)
    return [(number, each) for number, each in found if each is not None and math.isfinite(each)]


def _evaluated_loss(epoch: Epoch) -> float | None:
    return next((value for name, value in epoch.evaluation.items() if name.lower().endswith("loss")), None)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value

"""What a search has tried: a table as JSON, as CSV and for people, and a chart of cost and loss."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
from rich.table import Table

from ppcls_compress import io
from ppcls_compress.report.printing import standard_output

_SHOWN = 40


def write(rows: Sequence[Mapping[str, Any]], stem: Path, *, cost: str, share: float | None, max_drop: float) -> None:
    """Write `stem`.json, .csv and .png.

    Args:
        rows: flat, with `name`, `<cost>_share`, `drop_points`, `pareto` and `lost`; the numbers are absent where a row
            failed.
        cost: what lies along the horizontal axis.
        share: of it, allowed at most; None for no bound.
        max_drop: points, allowed at most.
    """
    io.write_json(stem.with_suffix(".json"), list(rows))
    names = list(dict.fromkeys(key for row in rows for key in row))
    with io.atomic(stem.with_suffix(".csv")) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, names)
        table.writeheader()
        table.writerows(rows)
    figure = matplotlib.figure.Figure(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot()
    drawn = [row for row in rows if "drop_points" in row]
    groups = {
        "tried": [row for row in drawn if not row["pareto"]],
        "no other is better in both": [row for row in drawn if row["pareto"] and row["lost"]],
        "chosen": [row for row in drawn if not row["lost"]],
    }
    for (label, members), marker in zip(groups.items(), ("x", "o", "*"), strict=True):
        points = [(100 * row[f"{cost}_share"], row["drop_points"]) for row in members]
        if points:
            axes.plot(*zip(*points, strict=True), marker, label=label, markersize=12 if marker == "*" else 6)
    axes.axhline(max_drop, linestyle=":", color="grey")
    if share is not None:
        axes.axvline(100 * share, linestyle=":", color="grey")
    axes.set_xlabel(f"{cost}, % of the dense network's")
    axes.set_ylabel("points of the main metric lost")
    axes.grid(alpha=0.3)
    if drawn:
        axes.legend()
    with io.atomic(stem.with_suffix(".png")) as partial:
        figure.savefig(partial, dpi=120, format="png")


def show(rows: Sequence[Mapping[str, Any]], *, cost: str) -> None:
    """Print the rows as a table on standard output; of very many those that nothing beats and those that were decided.

    Args:
        rows: see `write`; those that the deciding images were shown have `deciding_drop_points` and `_bound`.
        cost: what the contract is about.
    """
    telling = [row for row in rows if row["pareto"] or not row["lost"] or "deciding_drop_points" in row]
    shown = list(rows) if len(rows) <= _SHOWN else telling
    table = Table(title="what was tried (*: nothing else is better in both)", title_justify="left")
    table.add_column("name")
    table.add_column("candidate")
    for heading in (f"{cost} %", "points lost", "less than", "decided: lost", "less than"):
        table.add_column(heading, justify="right")
    table.add_column("why not")
    for row in shown:
        numbers = (row.get(f"{kind}drop_{of}") for kind in ("", "deciding_") for of in ("points", "bound"))
        share = row.get(f"{cost}_share")
        table.add_row(
            f"{row['name']}{' *' if row['pareto'] else ''}",
            row["candidate"],
            "" if share is None else f"{100 * share:.1f}",
            *("" if number is None else f"{number:.2f}" for number in numbers),
            row["lost"] or "chosen",
        )
    if len(shown) < len(rows):
        table.caption = f"{len(rows) - len(shown)} more are in tried.csv"
    standard_output().print(table)

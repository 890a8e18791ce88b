"""Curves as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.figure

from ppcls_compress import io


def plot(losses: Mapping[str, Mapping[float, float]], file: Path) -> None:
    """One line for each layer: the share of the score that is lost, in percent, over the pruned share of its filters.

    Args:
        losses: layer -> pruned ratio -> loss, both as fractions.
        file: PNG.
    """
    figure = matplotlib.figure.Figure(figsize=(10, 6), layout="constrained")
    axes = figure.add_subplot()
    for index, (layer, row) in enumerate(sorted(losses.items(), key=lambda item: -max(item[1].values()))):
        ratios = sorted(row)
        style = ("-", "--", ":", "-.")[index // 10 % 4]
        axes.plot([100 * ratio for ratio in ratios], [100 * row[ratio] for ratio in ratios], style, label=layer)
    axes.set_xlabel("filters pruned, %")
    axes.set_ylabel("score lost, %")
    axes.grid(alpha=0.3)
    if len(losses) <= 40:
        axes.legend(fontsize="x-small", ncols=1 + len(losses) // 20)
    with io.atomic(file) as partial:
        figure.savefig(partial, dpi=120)

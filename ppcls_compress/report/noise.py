"""What quantization does to each layer, as a picture: decibels of weight, input and output, and classes that stay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppcls_compress import io
from ppcls_compress.slim.quant.analysis import NOISY, Row

_SHOWN = {"weight_db": "weight", "input_db": "input", "output_db": "output"}


def plot(rows: Sequence[Row], file: Path) -> None:
    """Write a picture, a line for each layer, the noisiest on top; needs matplotlib."""
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(11, 1.5 + 0.22 * len(rows)), layout="constrained")
    noise, classes = figure.subplots(1, 2, sharey=True)
    places = range(len(rows), 0, -1)
    for key, label in _SHOWN.items():
        noise.plot([getattr(row, key) for row in rows], places, "o", label=label)
    noise.axvline(NOISY, color="grey", linewidth=0.5)
    noise.set_xlabel("signal to noise, dB")
    noise.set_yticks(places, [row.layer for row in rows])
    classes.plot([100 * row.alone for row in rows], places, "o", label="it alone rounded")
    classes.plot([100 * row.without for row in rows], places, "o", label="all but it rounded")
    classes.set_xlabel("classes as in float, %")
    for axes in (noise, classes):
        axes.legend()
    with io.atomic(file) as partial:
        figure.savefig(partial, format="png")

"""What quantization does to each layer, in files: what helps, a picture, and what an exported file makes of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls_compress import io
from ppcls_compress.engine.analysis_run import suggest
from ppcls_compress.engine.logs import logger
from ppcls_compress.slim.quant.analysis import NOISY, Row

if TYPE_CHECKING:
    from ppcls_compress.deploy.onnx.inspection import Inspection

_SHOWN = {"weight_db": "weight", "input_db": "input", "output_db": "output"}


def write(rows: Sequence[Row], folder: Path) -> None:
    """Write what helps (`suggested.yaml`), and a picture where matplotlib is installed (`analysis.png`)."""
    suggest(rows, folder / "suggested.yaml")
    if importlib.util.find_spec("matplotlib") is not None:
        plot(rows, folder / "analysis.png")


def write_inspection(seen: Inspection, folder: Path) -> None:
    """Write what each layer reads in an exported file (`artifact.json`), and tell it."""
    io.write_json(folder / "artifact.json", asdict(seen))
    for tensor in seen.tensors:
        logger.info(
            "%s reads: fake-quantized %.1f dB of float, the file %.1f dB of fake-quantized, %.1f of float",
            *(tensor.layer, tensor.rounded, tensor.file, tensor.both),
        )
    logger.info("the first layer that goes astray in the file: %s", seen.astray or "none")
    for layer, cause in seen.faults.items():
        logger.warning("%s: %s: %s (%s)", layer, cause.kind, cause.found, cause.help)


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

"""The analysis of a model of any origin: each layer's noise, what it costs alone, why, and what helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ppcls_compress.deploy import compare
from ppcls_compress.deploy.imported.network import FloatNetwork
from ppcls_compress.deploy.imported.played import Played
from ppcls_compress.deploy.imported.quantize import KINDS
from ppcls_compress.deploy.network import fingerprint
from ppcls_compress.deploy.onnx import graph
from ppcls_compress.deploy.onnx.calibrated import fit
from ppcls_compress.engine.analysis_run import measured
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.progress import track
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.quant.analysis import Rounding, Row

_AS_IN_FLOAT = {"classes": "classes as in float", "labels": "labels as in float", "features": "cosine to float"}


@dataclass(frozen=True, eq=False)
class Looked:
    """What a model is looked at with.

    Attributes:
        batches: prepared images, float32 [N, C, H, W] each.
        labels: of all of them, as `judge.listed` reads them; None where nobody knows, and float's answers count.
        where: what they are, in words.
    """

    batches: Sequence[np.ndarray]
    labels: np.ndarray | None
    where: str


@dataclass(frozen=True, eq=False)
class Study:
    """A finished analysis: the model, whose layers round or not, and a row for each of them."""

    model: Played
    rows: list[Row]


def study(
    network: FloatNetwork, options: QuantOptions, calibration: Sequence[np.ndarray], looked: Looked, file: Path
) -> Study:
    """Calibrate a model and look at every quantized layer; what `file` holds already is not repeated.

    Args:
        options: of `name: ptq`.
        calibration: images in batches.
        looked: images to look at it with.
        file: JSON, written after every layer.

    Raises:
        UserError: nothing in the model can be quantized, or `file` is of another model, other images or options.
    """
    fitted = fit(graph.copied(network.graph), network.folded, options, track(calibration, "calibrating"))
    model, kind = Played(network, fitted), KINDS.get(network.output, "classes")
    metric = _AS_IN_FLOAT[kind] if looked.labels is None else compare.KINDS[kind].accuracy
    about = {
        "images": looked.where,
        "network": f"{network.source.fingerprint()}-{fingerprint(fitted.network)}",
        "options": fitted.step["options"],
        "metric": metric,
    }
    score = _score(network, kind, looked)
    with Rounding(model) as flags:
        flags.round_only(())
        exact = score(model)
        flags.round_only(list(fitted.names.values()))
        logger.info("%s: %.1f%% in float, %.1f%% with all layers rounded", metric, 100 * exact, 100 * score(model))
    return Study(model, measured(model, looked.batches, file, about, score=score, metric=metric))


def _score(network: FloatNetwork, kind: str, looked: Looked) -> Callable[[paddle.nn.Layer], float]:
    """What judges a model by its answers: right ones where labels are known, else those that stay as in float."""
    words = compare.KINDS[kind]

    def decided(run: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return words.decide(words.level(np.concatenate([run(batch) for batch in looked.batches])))

    exact = decided(network.runner()) if looked.labels is None else None

    def score(model: paddle.nn.Layer) -> float:
        found = decided(lambda batch: model(paddle.to_tensor(batch)).numpy())
        return words.right(found, looked.labels) if exact is None else float(words.agree(exact, found).mean())

    return score

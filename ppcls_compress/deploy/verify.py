"""The proof that an artifact computes what the trained model does, by running it in a fresh process.

`python -m ppcls_compress.deploy.verify ARTIFACT IMAGES.npy OUTPUTS.npy` is that process.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ppcls_compress.deploy import artifact, fresh
from ppcls_compress.deploy.predictor import BATCH, Predictor
from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import inference_mode


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact may be from its model. Differences are relative to the largest output.

    Attributes:
        agreement: least fraction of images whose most likely class is the same, near ties counted as the same.
        mean: largest mean difference.
        maximum: largest difference of any output; None where single outputs may jump, as in quantized networks, when a
            value next to a rounding boundary falls on its other side.
    """

    agreement: float
    mean: float
    maximum: float | None


FLOAT = Tolerance(agreement=1.0, mean=1e-4, maximum=1e-3)
QUANTIZED = Tolerance(agreement=0.98, mean=0.02, maximum=None)


@dataclass(frozen=True)
class ParityReport:
    """How far an artifact is from its model.

    Attributes:
        images: how many were compared.
        top1_agreement: fraction whose most likely class is the same.
        agreement: the same, but also counting an image where the artifact's class comes within the allowed mean
            difference of the model's best: such a near tie has no right answer.
        mean_difference: mean of |artifact - model| over all outputs, relative to the largest |model|.
        max_difference: the largest, relative alike.
    """

    images: int
    top1_agreement: float
    agreement: float
    mean_difference: float
    max_difference: float

    def __str__(self) -> str:
        return (
            f"same top-1 on {self.top1_agreement:.2%} of {self.images} images, "
            f"difference of outputs {self.mean_difference:.1e} mean, {self.max_difference:.1e} largest"
        )


def parity(
    model: paddle.nn.Layer, directory: str | Path, images: np.ndarray, *, tolerance: Tolerance | None = None
) -> ParityReport:
    """Compare a model with its artifact on `images`, float32 [N, C, H, W].

    Args:
        model: the model that was exported, fake-quantized if it is so; not changed.
        directory: the folder of the artifact.
        images: preprocessed.
        tolerance: None for the default of a float or of a quantized network.

    Raises:
        UserError: the artifact does not run, or is further from the model than `tolerance` allows.
    """
    exported = artifact.load(directory)
    tolerance = tolerance or (QUANTIZED if exported.quantized else FLOAT)
    expected = eager(model, images, softmax=exported.description.output == "probabilities")
    if not np.isfinite(expected).all():
        raise UserError("the trained model's own output is not finite on the images of the comparison")
    report = compare(expected, run_fresh(directory, images), tie=tolerance.mean)
    if (
        not report.agreement >= tolerance.agreement
        or not report.mean_difference <= tolerance.mean
        or (tolerance.maximum is not None and not report.max_difference <= tolerance.maximum)
    ):
        raise UserError(
            f"the exported network does not compute what the trained one does: {report}; "
            f"allowed: {tolerance.agreement:.2%} near ties aside, {tolerance.mean:.1e} mean, "
            f"{'any' if tolerance.maximum is None else format(tolerance.maximum, '.1e')} largest"
        )
    return report


def compare(expected: np.ndarray, found: np.ndarray, *, tie: float) -> ParityReport:
    """Measures of two output arrays [N, classes]; classes within `tie` times the largest |expected| are as good."""
    if found.shape != expected.shape:
        raise UserError(f"outputs of shape {list(found.shape)} exported, {list(expected.shape)} trained")
    rows = np.arange(len(expected))
    best, chosen = expected.argmax(axis=1), found.argmax(axis=1)
    largest = max(float(np.abs(expected).max()), np.finfo(np.float32).tiny)
    difference = np.abs(found.astype(np.float64) - expected) / largest
    loss = (expected[rows, best] - expected[rows, chosen]) / largest
    return ParityReport(
        images=len(expected),
        top1_agreement=float((best == chosen).mean()),
        agreement=float((loss <= tie).mean()),
        mean_difference=float(difference.mean()),
        max_difference=float(difference.max()),
    )


def eager(model: paddle.nn.Layer, images: np.ndarray, *, softmax: bool) -> np.ndarray:
    """The model's outputs [N, classes] for images [N, C, H, W], in evaluation mode; the model is as before after it."""
    outputs = []
    with inference_mode(model):
        for start in range(0, len(images), BATCH):
            output = first_output(model(paddle.to_tensor(images[start : start + BATCH])))
            outputs.append((paddle.nn.functional.softmax(output) if softmax else output).numpy())
    return np.concatenate(outputs)


def first_output(output: paddle.Tensor | list[paddle.Tensor] | tuple[paddle.Tensor, ...]) -> paddle.Tensor:
    """The logits; networks with auxiliary classifiers give them first."""
    return output[0] if isinstance(output, list | tuple) else output


def run_fresh(directory: str | Path, images: np.ndarray) -> np.ndarray:
    """The outputs [N, classes] of an artifact, run in a process of its own.

    Raises:
        UserError: it does not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder, "images.npy"), Path(folder, "outputs.npy")
        np.save(inputs, images)
        fresh.run_module(__name__, Path(directory).resolve(), inputs, outputs)
        return np.load(outputs, allow_pickle=False)


def _main(directory: str, inputs: str, outputs: str) -> None:
    predictor = Predictor(directory, threads=1)
    images = np.load(inputs, allow_pickle=False)
    batches = [predictor.run(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    np.save(outputs, np.concatenate(batches))


if __name__ == "__main__":
    _main(*sys.argv[1:])

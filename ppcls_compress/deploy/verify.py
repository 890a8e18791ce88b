"""The proof that an artifact computes what the trained model does, by running it in a fresh process.

`python -m ppcls_compress.deploy.verify REQUEST.json` is that process. It does not import the trained model's framework
where the runtime is another one.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppcls_compress import io
from ppcls_compress.deploy import artifact, formats, fresh
from ppcls_compress.deploy.predictor import BATCH, Predictor, log_probabilities
from ppcls_compress.errors import UserError
from ppcls_compress.slim.record import step_of

if TYPE_CHECKING:
    import paddle


class ParityError(UserError):
    """An artifact does not compute what its model does."""


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact may be from its model.

    Attributes:
        agreement: least fraction of images whose most likely class is the same.
        mean: largest mean difference of logits, relative to the largest logit.
        maximum: largest difference of any logit, relative alike; None where single ones may jump, as in quantized
            networks, when a value next to a rounding boundary falls on its other side.
    """

    agreement: float
    mean: float
    maximum: float | None = None


FLOAT = Tolerance(agreement=1.0, mean=1e-4, maximum=1e-3)
ANY = Tolerance(agreement=0.0, mean=float("inf"))
"""For networks that nobody will classify with; their outputs must be finite all the same."""


def default_tolerance(format_name: str, *, quantized: bool, agreement: float | None = None) -> Tolerance:
    """What a format must keep to.

    Args:
        format_name: as in `deploy.formats`.
        quantized: whether the network is; the default of a float one is `FLOAT`.
        agreement: instead of the default; logits may then differ on average as much as classes may, and single ones
            more, unless it is 1.
    """
    kind = formats.get(format_name)
    default = Tolerance(kind.agreement, kind.mean) if quantized else FLOAT
    if agreement is None:
        return default
    return Tolerance(agreement, max(default.mean, 1 - agreement), default.maximum if agreement == 1 else None)


@dataclass(frozen=True, eq=False)
class Reference:
    """The trained model's answers.

    Attributes:
        images: preprocessed, float32 [N, C, H, W].
        logits: of the model, [N, classes].
        labels: int64 [N]; None where there are none.
        source: what the images are, for messages: `512 validation images`.
        synthetic: whether they are random. A network's classes on noise are often close to each other, so that classes
            whose logits are nearly equal count as the same there; on real images they do not.
    """

    images: np.ndarray
    logits: np.ndarray
    labels: np.ndarray | None = None
    source: str = "images"
    synthetic: bool = False


def reference(
    model: paddle.nn.Layer,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    source: str = "images",
    synthetic: bool = False,
) -> Reference:
    """The answers of `model`, fake-quantized if it is so and not changed, on `images`, float32 [N, C, H, W].

    Raises:
        UserError: an answer is not finite, not the same each time, or no number for each class.
    """
    from ppcls_compress.deploy.network import sound_logits_of

    logits = sound_logits_of(model, images, source)
    return Reference(images, logits, labels, f"{len(images)} {source}", synthetic)


@dataclass(frozen=True)
class ParityReport:
    """How far an artifact is from its model.

    Attributes:
        images: what was compared on.
        synthetic: whether they are random.
        argmax_agreement: fraction whose most likely class is the same.
        near_agreement: the same, but also counting an image where the artifact's class comes within the allowed mean
            difference of the model's best.
        bound: what the agreement must reach.
        default_bound: what it must reach unless configured otherwise.
        mean_bound: what the mean difference may reach, relative to the largest logit; None for anything.
        default_mean_bound: what it may reach unless configured otherwise.
        top1_model: fraction of images that the model classifies rightly; None without labels.
        top1_artifact: the same of the artifact.
        mean_difference: mean of |artifact - model| over all logits, each image's shifted to mean 0.
        max_difference: the largest such difference.
        largest_logit: of the model, shifted alike.
        integer_kernels: (kernels that compute with integers, all kernels) by kind of layer; empty where not known.
    """

    images: str
    synthetic: bool
    argmax_agreement: float
    near_agreement: float
    bound: float
    default_bound: float
    mean_bound: float | None
    default_mean_bound: float | None
    top1_model: float | None
    top1_artifact: float | None
    mean_difference: float
    max_difference: float
    largest_logit: float
    integer_kernels: Mapping[str, tuple[int, int]]

    def __str__(self) -> str:
        top1 = ""
        if self.top1_model is not None:
            top1 = f", top-1 {self.top1_model:.2%} trained and {self.top1_artifact:.2%} exported"
        return (
            f"same class for {self.argmax_agreement:.2%} of {self.images}{top1}, logits differ by "
            f"{self.mean_difference:.2g} on average and {self.max_difference:.2g} at most, of up to "
            f"{self.largest_logit:.3g}"
        )

    @property
    def loosened(self) -> bool:
        """Whether a bound is wider than the default."""
        means = (np.inf if bound is None else bound for bound in (self.mean_bound, self.default_mean_bound))
        return self.bound < self.default_bound or next(means) > next(means)

    def plain(self) -> dict[str, Any]:
        """As JSON has it, numbers rounded to what they mean."""
        content = {name: _rounded(value) for name, value in asdict(self).items() if value is not None}
        return {**content, "integer_kernels": {name: list(pair) for name, pair in self.integer_kernels.items()}}


@dataclass(frozen=True)
class Elsewhere:
    """What a comparison in a further runtime found.

    Attributes:
        report: how far the artifact is from the model there; None when it did not run.
        problem: why it must not be used there; None when it may.
    """

    report: ParityReport | None
    problem: str | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        told = {} if self.problem is None else {"problem": self.problem}
        return told if self.report is None else {**self.report.plain(), **told}


def _rounded(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def parity(reference: Reference, directory: str | Path, *, tolerance: Tolerance | None = None) -> ParityReport:
    """Compare a model's answers with those of its artifact in its own runtime, in a fresh process.

    Args:
        reference: the model's answers.
        directory: the folder of the artifact.
        tolerance: None for the default of the format.

    Raises:
        ParityError: the artifact is further from the model than `tolerance` allows.
        UserError: the artifact does not run.
    """
    exported = artifact.load(directory)
    report, problem = _judged(reference, exported, tolerance)
    if problem is not None:
        raise ParityError(
            f"{exported.description.format}: the exported network does not compute what the trained one does: "
            f"{problem}; found: {report}{_advice(exported)}"
        )
    return report


def _advice(exported: artifact.Artifact) -> str:
    """Where a network that was trained for one format failed in another: which one it is meant for."""
    step = step_of(exported.record, "quant") or {}
    if step.get("options", {}).get("placement") != "deploy" or exported.description.format == _DEPLOYED:
        return ""
    return f"; a network trained with placement: deploy is meant for {_DEPLOYED}, which runs in OpenVINO too"


_DEPLOYED = "onnx-ort"


def parity_elsewhere(
    reference: Reference, directory: str | Path, *, tolerance: Tolerance | None = None
) -> dict[str, Elsewhere]:
    """The same comparison in the further runtimes of its format that are installed, by their names.

    What fails there is no error: the artifact keeps what its own runtime promises. It must not have its own comparison
    written down yet, for what has is opened only in the runtimes that it names.
    """
    exported, found = artifact.load(directory), {}
    for item in formats.get(exported.description.format).runtimes[1:]:
        if item.installed:
            try:
                found[item.name] = Elsewhere(*_judged(reference, exported, tolerance, item.name))
            except UserError as error:
                found[item.name] = Elsewhere(None, f"it does not run there: {error}")
    return found


def _judged(
    reference: Reference, exported: artifact.Artifact, tolerance: Tolerance | None, runtime: str | None = None
) -> tuple[ParityReport, str | None]:
    """How far an artifact is from the model in a runtime, and what of it is worse than allowed."""
    default = default_tolerance(exported.description.format, quantized=exported.quantized)
    tolerance = tolerance or default
    outputs, kernels = run_fresh(exported.directory, reference.images, runtime)
    report = compare(reference, outputs, tolerance, default=default, kernels=kernels)
    strict = exported.quantized and not reference.synthetic
    return report, _problem(report, tolerance, strict=strict)


def _problem(report: ParityReport, tolerance: Tolerance, *, strict: bool) -> str | None:
    """What is worse than allowed, or None; unless `strict`, near ties are allowed."""
    agreement = report.argmax_agreement if strict else report.near_agreement
    largest = max(report.largest_logit, _SMALL)
    if not np.isfinite(report.mean_difference):
        return "its output is not finite"
    if agreement < tolerance.agreement:
        near = "" if strict else ", near ties allowed,"
        return f"the same class for {agreement:.2%}{near} is below the bound {tolerance.agreement:.2%}"
    if report.mean_difference > tolerance.mean * largest:
        return f"the mean difference of logits is above {tolerance.mean:.1e} of the largest"
    if tolerance.maximum is not None and report.max_difference > tolerance.maximum * largest:
        return f"the largest difference of logits is above {tolerance.maximum:.1e} of the largest"
    return None


_SMALL = 0.01
"""Logits of less than this are all the same class: differences are never taken relative to less."""


def compare(
    reference: Reference,
    outputs: np.ndarray,
    tolerance: Tolerance,
    *,
    default: Tolerance | None = None,
    kernels: Mapping[str, tuple[int, int]] | None = None,
) -> ParityReport:
    """Measures of an artifact's logits, or logarithms of probabilities, [N, classes] beside the model's."""
    if outputs.shape != reference.logits.shape:
        raise UserError(f"outputs of shape {list(outputs.shape)} exported, {list(reference.logits.shape)} trained")
    expected, found = _centred(reference.logits), _centred(outputs)
    rows = np.arange(len(expected))
    best, chosen = expected.argmax(axis=1), found.argmax(axis=1)
    difference = np.abs(found - expected)
    largest = float(np.abs(expected).max())
    near = expected[rows, best] - expected[rows, chosen] <= tolerance.mean * max(largest, _SMALL)
    labels, default = reference.labels, default or tolerance
    return ParityReport(
        images=reference.source,
        synthetic=reference.synthetic,
        argmax_agreement=float((best == chosen).mean()),
        near_agreement=float(near.mean()),
        bound=tolerance.agreement,
        default_bound=default.agreement,
        mean_bound=_finite(tolerance.mean),
        default_mean_bound=_finite(default.mean),
        top1_model=None if labels is None else float((best == labels).mean()),
        top1_artifact=None if labels is None else float((chosen == labels).mean()),
        mean_difference=float(difference.mean()),
        max_difference=float(difference.max()),
        largest_logit=largest,
        integer_kernels=dict(kernels or {}),
    )


def _finite(bound: float) -> float | None:
    return bound if np.isfinite(bound) else None


def _centred(logits: np.ndarray) -> np.ndarray:
    """Logits of mean 0 for each image; what a softmax in float32 cannot tell from 0 is cut off before."""
    logs = log_probabilities(logits.astype(np.float64)).clip(_LEAST_LOG, None)
    return logs - logs.mean(axis=1, keepdims=True)


_LEAST_LOG = -80.0


def run_fresh(
    directory: str | Path, images: np.ndarray, runtime: str | None = None
) -> tuple[np.ndarray, dict[str, tuple[int, int]]]:
    """The logits, or logarithms of probabilities, [N, classes] of an artifact, run in a process of its own.

    Args:
        directory: the folder of the artifact.
        images: float32 [N, C, H, W].
        runtime: of its format; None for the format's own.

    Returns:
        Them, and how many kernels compute with integers, as `Runtime.integer_kernels` gives it.

    Raises:
        UserError: it does not run.
    """
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        names = ("images.npy", "outputs.npy", "kernels.json")
        request = {Path(name).stem: str(Path(folder, name)) for name in names}
        np.save(request["images"], images)
        asked = {**request, "artifact": str(Path(directory).resolve()), "runtime": runtime}
        io.write_json(Path(folder, "request.json"), asked)
        fresh.run_module(__name__, Path(folder, "request.json"), threads=threads, folder=folder)
        kernels = {name: (done, count) for name, (done, count) in io.read_json(request["kernels"]).items()}
        return np.load(request["outputs"], allow_pickle=False), kernels


def _answer(request: Mapping[str, Any]) -> None:
    predictor = Predictor(request["artifact"], runtime=request["runtime"])
    images = np.load(request["images"], allow_pickle=False, mmap_mode="r")
    batches = [predictor.logits(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    np.save(request["outputs"], np.concatenate(batches))
    exported = predictor.artifact
    count = formats.get(exported.description.format).runtime(request["runtime"]).integer_kernels
    counted = count(exported.directory) if count is not None and exported.quantized else {}
    io.write_json(request["kernels"], counted)


if __name__ == "__main__":
    _answer(io.read_json(sys.argv[1]))

"""How far the answers of an exported network are from those of the trained one, and how far they may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ppcls_compress.errors import UserError
from ppcls_compress.outputs import UNKNOWN, attributes, identities
from ppcls_compress.postprocess.base import log_probabilities


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact may be from its model.

    Attributes:
        agreement: least fraction of images whose most likely class is the same, or of labels that are the same.
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


@dataclass(frozen=True, eq=False)
class Reference:
    """The trained model's answers.

    Attributes:
        images: preprocessed, float32 [N, C, H, W].
        logits: of the model, [N, classes].
        kind: what is told of an image: one of `classes`, several `labels`, or the `features` it is recognised by.
        labels: as the data set has them, int64 [N] or [N, k], or float32 [N, C]; None where there are none.
        source: what the images are, for messages: `512 validation images`.
        synthetic: whether they are random. A network's classes on noise are often close to each other, so that classes
            whose logits are nearly equal count as the same there; on real images they do not.
    """

    images: np.ndarray
    logits: np.ndarray
    kind: str = "classes"
    labels: np.ndarray | None = None
    source: str = "images"
    synthetic: bool = False


@dataclass(frozen=True)
class Kind:
    """How answers of a kind are compared.

    Attributes:
        level: logits [N, C] to what is compared, which differs where answers differ and not otherwise.
        decide: such levels to decisions, [N] or [N, C].
        agree: the model's decisions and an artifact's to how much these are the same, each from 0 to 1.
        doubt: the model's levels and an artifact's decisions to how far these are from the model's own.
        right: decisions and labels to the share of right ones; None where labels say nothing of them.
        agrees: words for a share of same decisions on some images.
        accuracy: words for a share of right decisions.
        what: words for what is compared.
    """

    level: Callable[[np.ndarray], np.ndarray]
    decide: Callable[[np.ndarray], np.ndarray]
    doubt: Callable[[np.ndarray, np.ndarray], np.ndarray]
    agrees: str
    agree: Callable[[np.ndarray, np.ndarray], np.ndarray] = np.equal
    right: Callable[[np.ndarray, np.ndarray], float] | None = None
    accuracy: str = ""
    what: str = "logits"


_LEAST_LOG = -64.0
"""What a softmax in float32 cannot tell from 0 is cut off; Paddle's own kernel gives nothing smaller than this."""
_LARGEST_LABEL = 10.0
"""A logit of more is cut off: a sigmoid in float32 gives it to 1e-4 of this, larger ones ever less exactly."""


def _centred(logits: np.ndarray) -> np.ndarray:
    """Logits of mean 0 for each image."""
    logs = log_probabilities(logits.astype(np.float64)).clip(_LEAST_LOG, None)
    return logs - logs.mean(axis=1, keepdims=True)


def _behind_the_best(levels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return levels.max(axis=1) - levels[np.arange(len(levels)), chosen]


def _beyond_zero(levels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.where((levels > 0) == chosen, 0.0, np.abs(levels))


def _right_labels(chosen: np.ndarray, labels: np.ndarray) -> float:
    labels = attributes(labels)[0]
    known = labels != UNKNOWN
    return float((chosen == (labels == 1))[known].mean()) if known.any() else 1.0


def _of_length_one(features: np.ndarray) -> np.ndarray:
    features = features.astype(np.float64)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), _SHORTEST)


_SHORTEST = 1e-12


def _cosines(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    return (features * others).sum(axis=1)


KINDS = {
    "classes": Kind(
        level=_centred,
        decide=lambda levels: levels.argmax(axis=1),
        doubt=_behind_the_best,
        right=lambda chosen, labels: float((chosen == identities(labels)).mean()),
        agrees="same class for {share:.2%} of {images}",
        accuracy="top-1",
    ),
    "labels": Kind(
        level=lambda logits: logits.astype(np.float64).clip(-_LARGEST_LABEL, _LARGEST_LABEL),
        decide=lambda levels: levels > 0,
        doubt=_beyond_zero,
        right=_right_labels,
        agrees="same label for {share:.2%} of all labels of {images}",
        accuracy="labels right",
    ),
    "features": Kind(
        level=_of_length_one,
        decide=lambda levels: levels,
        agree=_cosines,
        doubt=lambda levels, chosen: 1 - _cosines(levels, chosen),
        agrees="cosine {share:.6f} on average over {images}",
        what="features of a length of one",
    ),
}


@dataclass(frozen=True)
class ParityReport:
    """How far an artifact is from its model.

    Attributes:
        kind: what is told of an image, `classes`, `labels` or `features`.
        images: what was compared on.
        synthetic: whether they are random.
        agreement: fraction of images whose most likely class is the same, or of labels that are the same; of features,
            the mean cosine between the two.
        near_agreement: the same, but also counting an image where the artifact's class comes within the allowed mean
            difference of the model's best, a label whose logit is so close to 0, or a cosine so close to 1.
        bound: what the agreement must reach.
        default_bound: what it must reach unless configured otherwise.
        mean_bound: what the mean difference may reach, relative to the largest logit; None for anything.
        default_mean_bound: what it may reach unless configured otherwise.
        accuracy_model: fraction of images, or of labels, that the model tells rightly; None where nobody knows.
        accuracy_artifact: the same of the artifact.
        mean_difference: mean of |artifact - model| over all logits, those of an image shifted to mean 0 where one is
            the best.
        max_difference: the largest such difference.
        largest_logit: of the model, shifted alike.
        integer_kernels: (kernels that compute with integers, all kernels) by kind of layer; empty where not known.
        count: images that were compared.
    """

    kind: str
    images: str
    synthetic: bool
    agreement: float
    near_agreement: float
    bound: float
    default_bound: float
    mean_bound: float | None
    default_mean_bound: float | None
    accuracy_model: float | None
    accuracy_artifact: float | None
    mean_difference: float
    max_difference: float
    largest_logit: float
    integer_kernels: Mapping[str, tuple[int, int]]
    count: int = 0

    def __str__(self) -> str:
        words = KINDS[self.kind]
        right = ""
        if self.accuracy_model is not None:
            right = f", {words.accuracy} {self.accuracy_model:.2%} trained and {self.accuracy_artifact:.2%} exported"
        return (
            f"{words.agrees.format(share=self.agreement, images=self.images)}{right}, {words.what} differ by "
            f"{self.mean_difference:.2g} on average and {self.max_difference:.2g} at most, of up to "
            f"{self.largest_logit:.3g}"
        )

    @property
    def interval(self) -> tuple[float, float]:
        """Where the agreement over all images there are lies, as far as so many tell, with 95% (Wilson's interval)."""
        z, n, share = 1.959964, max(self.count, 1), min(max(self.agreement, 0.0), 1.0)
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * ((share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5)
        return max(middle - half, 0.0), min(middle + half, 1.0)

    @property
    def loosened(self) -> bool:
        """Whether a bound is wider than the default."""
        means = (np.inf if bound is None else bound for bound in (self.mean_bound, self.default_mean_bound))
        return self.bound < self.default_bound or next(means) > next(means)

    def plain(self) -> dict[str, Any]:
        """As JSON has it, numbers rounded to what they mean."""
        content = {name: _rounded(value) for name, value in asdict(self).items() if value is not None}
        return {**content, "integer_kernels": {name: list(pair) for name, pair in self.integer_kernels.items()}}


def _rounded(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def problem(report: ParityReport, tolerance: Tolerance, *, strict: bool) -> str | None:
    """What is worse than allowed, or None; unless `strict`, near ties are allowed."""
    agreement = report.agreement if strict else report.near_agreement
    largest = max(report.largest_logit, _SMALL)
    if not np.isfinite(report.mean_difference):
        return "its output is not finite"
    if agreement < tolerance.agreement and not _is_chance(report, agreement, tolerance.agreement):
        near = "" if strict else ", near ties allowed,"
        told = KINDS[report.kind].agrees.format(share=agreement, images=report.images)
        return f"the {told}{near} is below the bound {tolerance.agreement:.2%}"
    by_cosine = report.kind == "features" and tolerance.maximum is None
    if report.mean_difference > tolerance.mean * largest and not by_cosine:
        return f"the mean difference of {KINDS[report.kind].what} is above {tolerance.mean:.1e} of the largest"
    if tolerance.maximum is not None and report.max_difference > tolerance.maximum * largest:
        return f"the largest difference of {KINDS[report.kind].what} is above {tolerance.maximum:.1e} of the largest"
    return None


def _is_chance(report: ParityReport, agreement: float, bound: float) -> bool:
    """Whether one class in all differs, on so few images that a network which just keeps the bound often has one too.

    A bound of 98% then allows one of 3 images, or more, to differ, where the share alone would ask for 50.
    """
    one = report.kind == "classes" and round((1 - agreement) * report.count) == 1
    return one and 1 - bound**report.count > _LIKELY


_LIKELY = 0.05

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
    """Measures of an artifact's logits [N, classes], or what gives the same probabilities, beside the model's.

    Raises:
        UserError: they are of another shape.
    """
    if outputs.shape != reference.logits.shape:
        raise UserError(f"outputs of shape {list(outputs.shape)} exported, {list(reference.logits.shape)} trained")
    kind, labels, default = KINDS[reference.kind], reference.labels, default or tolerance
    expected, found = kind.level(reference.logits), kind.level(outputs)
    wanted, chosen = kind.decide(expected), kind.decide(found)
    difference = np.abs(found - expected)
    largest = float(np.abs(expected).max())
    near = kind.doubt(expected, chosen) <= tolerance.mean * max(largest, _SMALL)
    agreement, told = kind.agree(wanted, chosen), labels is not None and kind.right is not None
    return ParityReport(
        kind=reference.kind,
        images=reference.source,
        synthetic=reference.synthetic,
        agreement=float(agreement.mean()),
        near_agreement=float(np.where(near, 1.0, agreement).mean()),
        bound=tolerance.agreement,
        default_bound=default.agreement,
        mean_bound=_finite(tolerance.mean),
        default_mean_bound=_finite(default.mean),
        accuracy_model=kind.right(wanted, labels) if told else None,
        accuracy_artifact=kind.right(chosen, labels) if told else None,
        mean_difference=float(difference.mean()),
        max_difference=float(difference.max()),
        largest_logit=largest,
        integer_kernels=dict(kernels or {}),
        count=len(reference.logits),
    )


def _finite(bound: float) -> float | None:
    return bound if np.isfinite(bound) else None

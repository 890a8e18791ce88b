"""A float model and its artifacts on images whose labels are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ppcls_compress.data.attribute_lists import read_attribute_images
from ppcls_compress.data.labels import LabelledImages, read_labelled_images
from ppcls_compress.data.places import Places
from ppcls_compress.deploy.compare import KINDS
from ppcls_compress.deploy.export import ExportResult
from ppcls_compress.deploy.imported.network import FloatNetwork
from ppcls_compress.deploy.imported.prepare import Preparation, batches_of
from ppcls_compress.deploy.imported.quantize import Quantized
from ppcls_compress.deploy.predictor import Predictor
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import ConfigError

_BEST, _ANY = 5, 2**62
Run = Callable[[np.ndarray], np.ndarray]


def listed(network: FloatNetwork, root: Path, label_file: Path) -> LabelledImages:
    """Images with the labels that a model gives.

    Args:
        root: what the names of images are relative to.
        label_file: lines `relative/path label`, or `relative/path 0,1,0` of attributes.

    Raises:
        UserError: the list cannot be read, a label is none of the model's, or the model gives features.
    """
    if network.output == "features":
        raise ConfigError(
            f"{label_file}: a model that gives features is judged by eval --artifact, with its configuration"
        )
    places = Places(root, allow_outside=False)
    common = {"places": places, "label_file": label_file, "missing_allowed": 0, "where": "--list"}
    if network.output == "label_probabilities":
        return read_attribute_images(**common, class_num=network.classes, with_shares=False)
    return read_labelled_images(**common, class_num=network.classes, delimiter=None, relabel=False)


def evaluate(
    model: Quantized, results: Sequence[ExportResult], preparation: Preparation, images: LabelledImages
) -> dict[str, dict[str, float]]:
    """The share of right answers of the float model, and of each artifact in its own runtime.

    Args:
        images: that `listed` gave.

    Returns:
        By `float` and format: `top1`, and `top5` of more than five classes; or `right` of attributes.

    Raises:
        UserError: an image cannot be read.
    """
    runs: dict[str, Run] = {"float": model.network.runner()}
    runs |= {result.artifact.description.format: Predictor(result.artifact.directory).logits for result in results}
    answers: dict[str, list[np.ndarray]] = {name: [] for name in runs}
    paths, kind = [Path(path) for path in images.paths], model.reference.kind
    for batch in batches_of(paths, preparation, "evaluating", shape=model.network.image_shape):
        for name, run in runs.items():
            answers[name].append(run(batch))
    return {name: _shares(np.concatenate(parts), images.labels, kind) for name, parts in answers.items()}


def read_list(root: Path, label_file: Path) -> LabelledImages:
    """A list of images with labels of any number of classes.

    Raises:
        UserError: the list or a line of it cannot be read, or an image is not there.
    """
    return read_labelled_images(
        places=Places(root, allow_outside=False),
        label_file=label_file,
        class_num=_ANY,
        delimiter=None,
        relabel=False,
        missing_allowed=0,
        where=str(label_file),
    )


def _shares(logits: np.ndarray, labels: np.ndarray, kind: str) -> dict[str, float]:
    words = KINDS[kind]
    share = words.right(words.decide(words.level(logits)), labels)
    if kind == "labels":
        return {"right": share}
    if logits.shape[1] <= _BEST:
        return {"top1": share}
    best = np.argpartition(-logits, _BEST - 1, axis=1)[:, :_BEST]
    return {"top1": share, "top5": float((best == labels.reshape(-1, 1)).any(axis=1).mean())}


def tell(found: Mapping[str, Mapping[str, float]], count_of: str) -> None:
    """Say the shares."""
    for name, shares in found.items():
        told = ", ".join(f"{metric} {share:.2%}" for metric, share in shares.items())
        logger.info("%s on %s: %s", name, count_of, told)

"""Verification of faces: whether two images are of one person, by a threshold that other pairs choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import paddle

from ppcls_compress.data.faces import FacePairs
from ppcls_compress.engine.retrieval import Predict
from ppcls_compress.errors import UserError
from ppcls_compress.outputs import part, unit

_FOLDS = 10
_THRESHOLDS = np.arange(0, 4, 0.01)


def verify_faces(predict: Predict, sets: Sequence[FacePairs], batch_size: int) -> dict[str, float]:
    """For each set the accuracy and the mean threshold, and the mean accuracy `all_test_acc` of the sets.

    A face's feature is that of the image and of its mirror image, added up, of a length of one. Ten tenths of the
    pairs in turn are judged by the threshold, on the squared distance, that suits the others best.

    Raises:
        UserError: features are not finite.
    """
    found = {}
    for pairs in sets:
        features = np.concatenate(list(_features(predict, pairs, batch_size)))
        if not np.isfinite(features).all():
            raise UserError(f"{pairs.name}: features are not finite; the weights are broken")
        distances = np.square(features[0::2] - features[1::2]).sum(axis=1)
        accuracy, threshold = judge(distances, pairs.same)
        found[f"{pairs.name}_test_acc"] = accuracy
        found[f"{pairs.name}_test_best_threshold"] = threshold
    accuracies = [value for name, value in found.items() if name.endswith("_acc")]
    return {"all_test_acc": float(np.mean(accuracies)), **found}


def _features(predict: Predict, pairs: FacePairs, batch_size: int) -> Iterator[np.ndarray]:
    with paddle.no_grad():
        for batch in pairs.batches(batch_size):
            images = paddle.to_tensor(batch)
            outputs = [predict(images), predict(images.flip(3))]
            both = [output if isinstance(output, paddle.Tensor) else part(output, "features") for output in outputs]
            yield unit(both[0] + both[1]).astype("float32").numpy()


def judge(distances: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """Mean accuracy and mean threshold over ten folds, which are pairs that follow each other.

    Args:
        distances: squared, [P].
        same: whether the pairs are of one person, bool [P].

    Raises:
        UserError: there are fewer than ten pairs.
    """
    if len(same) < _FOLDS:
        raise UserError(f"faces: {len(same)} pairs are too few for {_FOLDS} folds")
    right = (distances[:, None] < _THRESHOLDS) == same[:, None]
    accuracies, thresholds = [], []
    for fold in np.array_split(np.arange(len(same)), _FOLDS):
        others = np.ones(len(same), bool)
        others[fold] = False
        best = int(right[others].mean(axis=0).argmax())
        accuracies.append(right[fold, best].mean())
        thresholds.append(_THRESHOLDS[best])
    return float(np.mean(accuracies)), float(np.mean(thresholds))

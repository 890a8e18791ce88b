"""Images in, the most likely classes out, for any function from images to scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_compress.data import BadImageError, Pipeline, read_image
from ppcls_compress.errors import UserError


def classify(
    predict: Callable[[np.ndarray], np.ndarray],
    paths: Iterable[Path],
    pipeline: Pipeline,
    *,
    topk: int,
    class_names: Sequence[str] | None,
    batch_size: int,
) -> Iterator[dict[str, Any]]:
    """For each image: `{"file_name", "class_ids", "scores", "label_names"}`, best class first.

    Args:
        predict: float32 images [N, C, H, W] to scores [N, classes].
        paths: image files.
        pipeline: encoded bytes to one image [C, H, W].
        topk: how many classes; all of them when there are fewer.
        class_names: by class index; without them `label_names` is empty.
        batch_size: images per call of `predict`.

    Raises:
        UserError: a file is not a readable image.
    """
    batch: list[Path] = []
    images: list[np.ndarray] = []
    for path in paths:
        batch.append(path)
        images.append(read_prepared(path, pipeline))
        if len(batch) == batch_size:
            yield from _answers(predict(np.stack(images)), batch, topk, class_names)
            batch, images = [], []
    if batch:
        yield from _answers(predict(np.stack(images)), batch, topk, class_names)


def read_prepared(path: str | Path, pipeline: Pipeline) -> np.ndarray:
    """The image [C, H, W] that `pipeline` makes of a file.

    Raises:
        BadImageError: the file is not a readable image; the message names it.
    """
    try:
        return pipeline(read_image(path))
    except UserError as error:
        raise BadImageError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def check_finite(scores: np.ndarray) -> np.ndarray:
    """`scores` themselves.

    Raises:
        UserError: one of them is NaN or infinite, which is no answer.
    """
    if not np.isfinite(scores).all():
        raise UserError("the network's scores are not finite; its weights are broken")
    return scores


def _answers(
    scores: np.ndarray, paths: Sequence[Path], topk: int, class_names: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    for path, row in zip(paths, check_finite(scores), strict=True):
        best = np.argsort(-row, kind="stable")[:topk]
        yield {
            "file_name": str(path),
            "class_ids": best.tolist(),
            "scores": [round(float(row[index]), 5) for index in best],
            "label_names": [class_names[index] for index in best] if class_names else [],
        }

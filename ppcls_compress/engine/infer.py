"""Images in, answers out, for any function from images to scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_compress.data import BadImageError, Pipeline, read_image
from ppcls_compress.errors import UserError
from ppcls_compress.postprocess import PostProcess


def classify(
    predict: Callable[[np.ndarray], np.ndarray],
    paths: Iterable[Path],
    pipeline: Pipeline,
    *,
    post_process: PostProcess,
    class_names: Sequence[str] | None,
    batch_size: int,
    image_shape: Sequence[int] | None = None,
    failed: Callable[[BadImageError], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """For each image its `file_name` and the answer of `post_process`: for `Topk` class_ids, scores and label_names.

    Args:
        predict: float32 images [N, C, H, W] to the scores [N, C] that `post_process` reads.
        paths: image files.
        pipeline: encoded bytes to one image [C, H, W].
        post_process: what becomes of the scores of an image.
        class_names: by class index; without them `label_names` is empty.
        batch_size: images per call of `predict`.
        image_shape: (C, H, W) that `predict` takes; None takes what comes first.
        failed: is told of a file that is no readable image, which then has no answer; None ends with the first one.

    Raises:
        BadImageError: a file is not a readable image, or comes out of the pipeline in another shape.
    """
    batch: list[Path] = []
    images: list[np.ndarray] = []
    for path in paths:
        try:
            image = read_prepared(path, pipeline, image_shape=image_shape)
        except BadImageError as error:
            if failed is None:
                raise
            failed(error)
            continue
        image_shape = image.shape
        batch.append(path)
        images.append(image)
        if len(batch) == batch_size:
            yield from _answers(predict(np.stack(images)), batch, post_process, class_names)
            batch, images = [], []
    if batch:
        yield from _answers(predict(np.stack(images)), batch, post_process, class_names)


def read_prepared(path: str | Path, pipeline: Pipeline, *, image_shape: Sequence[int] | None = None) -> np.ndarray:
    """The image [C, H, W] that `pipeline` makes of a file.

    Args:
        image_shape: what it must be; None for anything.

    Raises:
        BadImageError: the file is not a readable image, or comes out in another shape; the message names it.
    """
    try:
        image = pipeline(read_image(path))
    except UserError as error:
        raise BadImageError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    if image_shape is not None and image.shape != tuple(image_shape):
        raise BadImageError(
            f"{path}: the transforms make an image of {list(image.shape)} of it, {list(image_shape)} is needed; end "
            "them with a crop or a resize to one size"
        )
    return image


def check_finite(scores: np.ndarray) -> np.ndarray:
    """`scores` themselves.

    Raises:
        UserError: one of them is NaN or infinite, which is no answer.
    """
    if not np.isfinite(scores).all():
        raise UserError("the network's scores are not finite; its weights are broken")
    return scores


def _answers(
    scores: np.ndarray, paths: Sequence[Path], post_process: PostProcess, class_names: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    for path, row in zip(paths, check_finite(scores), strict=True):
        yield {"file_name": str(path), **post_process.answer(row, class_names)}

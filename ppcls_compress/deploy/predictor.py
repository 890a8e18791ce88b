"""Runs an exported model of any format on the CPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_compress import data
from ppcls_compress.deploy import artifact, sessions
from ppcls_compress.engine.infer import check_finite, classify, read_prepared
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import UserError, one_line, shortened
from ppcls_compress.postprocess import PostProcess, Topk
from ppcls_compress.postprocess.base import NONE, OUTPUTS, SIGMOID, SOFTMAX, scores_of

BATCH = 32
Image = str | Path | np.ndarray
"""A file, or an array as `cv2.imread` gives it."""


class Predictor:
    """An exported model, ready to run.

    Args:
        directory: the folder of the artifact, which tells its format.
        threads: for the arithmetic; None for all the cores that this process may use.
        runtime: of the format, where several run it: `openvino` for an `onnx-ort` artifact; None for its own.

    Attributes:
        artifact: the description and the record that came with the network.

    Raises:
        MissingDependencyError: the runtime of the format is not installed; says which extra brings it.
        UserError: an argument cannot be used, the artifact is incomplete or damaged, does not run there, or did not
            prove there that it computes what its model does.

    Example:
        >>> predictor = Predictor("inference")
        >>> predictor.predict("cat.jpg")
        [{'class_id': 281, 'score': 0.93, 'label_name': 'tabby'}]
    """

    def __init__(self, directory: str | Path, *, threads: int | None = None, runtime: str | None = None) -> None:
        if not isinstance(directory, str | os.PathLike):
            raise UserError(f"the folder of an exported model is needed, found {shortened(directory)}")
        if threads is not None and (not isinstance(threads, int | np.integer) or threads < 1):
            raise UserError(f"threads: a whole number of at least 1 is needed, found {shortened(threads)}")
        self.artifact = artifact.load(directory)
        refusal = sessions.refusal(self.artifact, runtime)
        if refusal is not None:
            raise UserError(f"{self.artifact.directory}: {refusal}")
        if sessions.setting(self.artifact, runtime):
            logger.info("%s: runs in %s", directory, sessions.title(self.artifact, runtime))
        threads = len(os.sched_getaffinity(0)) if threads is None else threads
        if self.artifact.description.speed_only:
            logger.warning("%s: exported with --synthetic-calibration, for measuring speed only", directory)
        self._session = sessions.open_session(self.artifact, threads, runtime)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Preprocessed float32 images [N, C, H, W] to the network's output [N, classes], logits or probabilities.

        Raises:
            UserError: the images are no array, or of another shape than the network was exported for.
        """
        expected = self.artifact.description.image_shape
        if not isinstance(images, np.ndarray):
            raise UserError(f"images: a NumPy array [N, C, H, W] is needed, found {one_line(shortened(images))}")
        if images.ndim != 4 or images.shape[1:] != expected or not len(images):
            raise UserError(f"the network takes images of shape [N, {str(expected)[1:-1]}], found {list(images.shape)}")
        return self._session.run(np.ascontiguousarray(images, np.float32))

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Preprocessed float32 images [N, C, H, W] to logits [N, classes]; their softmax is the probabilities.

        Of a network that gives probabilities these are the logarithms; of one that gives a probability for each label
        they are what has this probability as its sigmoid; of one that gives features, these.
        """
        output, kind = self.run(images), self.artifact.description.output
        if OUTPUTS[kind] == NONE:
            return output
        tiny = np.finfo(np.float32).tiny
        found = np.log(np.maximum(output, tiny))
        return found if kind == "probabilities" else found - np.log(np.maximum(1 - output, tiny))

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Preprocessed float32 images [N, C, H, W] to probabilities [N, classes], of classes or of each label."""
        return self._scores(images, SIGMOID if self._multilabel else SOFTMAX)

    def _scores(self, images: np.ndarray, reads: str) -> np.ndarray:
        """What a post-processing reads; what the network gives itself is handed on as it is."""
        if OUTPUTS[self.artifact.description.output] == reads:
            return self.run(images)
        return scores_of(self.logits(images), reads)

    def _readable(self, scores: np.ndarray, post_process: PostProcess) -> np.ndarray:
        """`scores` [N, C] themselves.

        Raises:
            UserError: the post-processing reads others, or there are names for another number of classes.
        """
        description = self.artifact.description
        count, names = scores.shape[1], description.class_names
        reason = post_process.misfit(count, multilabel=self._multilabel)
        if reason is None and names is not None and len(names) != count:
            reason = f"label_list holds {len(names)} names, but there are {count} classes (Arch.class_num)"
        if reason is not None:
            raise UserError(f"{self.artifact.directory}: PostProcess: {reason}")
        return scores

    @property
    def _multilabel(self) -> bool:
        return self.artifact.description.output == "label_probabilities"

    def predict(self, images: Image | Iterable[Image]) -> list[dict[str, Any]]:
        """What the post-processing tells of each image.

        For `Topk` that is the most likely class, `{"class_id", "score", "label_name"}`, the name None if not known;
        otherwise see `ppcls_compress.postprocess`.

        Args:
            images: files, or arrays as `cv2.imread` gives them, uint8 [H, W, 3], blue first; or a single one.

        Raises:
            UserError: an image cannot be read, is no image, or the artifact does not tell its preprocessing.
        """
        images = _listed(images)
        description = self.artifact.description
        post_process, pipeline = description.post_process, self._pipeline()
        reads = post_process.reads(multilabel=self._multilabel)
        answers = []
        for start in range(0, len(images), BATCH):
            batch = [
                pipeline(image)
                if isinstance(image, np.ndarray)
                else read_prepared(image, pipeline, image_shape=description.image_shape)
                for image in images[start : start + BATCH]
            ]
            for row in check_finite(self._readable(self._scores(np.stack(batch), reads), post_process)):
                if isinstance(post_process, Topk):
                    answers.append(_best(row, description.class_names))
                else:
                    answers.append(post_process.answer(row, description.class_names))
        return answers

    def classify(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        topk: int | None = None,
        post_process: PostProcess | None = None,
        batch_size: int = BATCH,
        failed: Callable[[data.BadImageError], None] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """What the post-processing tells of each image file, see `engine.infer.classify`.

        Args:
            topk: the most likely classes, so many, instead of what the post-processing tells.
            post_process: another one than was exported.

        Raises:
            UserError: an image cannot be read and nobody is to be told with `failed`, or the artifact does not tell its
                preprocessing.
        """
        description = self.artifact.description
        post_process = post_process or description.post_process
        if topk is not None:
            post_process = Topk(topk=topk)
        reads = post_process.reads(multilabel=self._multilabel)
        return classify(
            lambda images: self._readable(self._scores(images, reads), post_process),
            [paths] if isinstance(paths, str | Path) else paths,
            self._pipeline(),
            post_process=post_process,
            class_names=description.class_names,
            batch_size=batch_size,
            image_shape=description.image_shape,
            failed=failed,
        )

    def _pipeline(self) -> data.Pipeline:
        ops = self.artifact.description.preprocess
        if not ops:
            raise UserError(
                f"{self.artifact.directory / artifact.DESCRIPTION}: PreProcess.transform_ops is empty, images cannot "
                "be prepared; export again with Infer.transforms in the configuration"
            )
        return data.build_pipeline(ops)


def _listed(images: object) -> list[Image]:
    """The images, of which a single one may be given by itself."""
    if isinstance(images, str | Path) or (isinstance(images, np.ndarray) and images.ndim < 4):
        images = [images]
    if not isinstance(images, Iterable):
        raise UserError(f"images: files or arrays are needed, found {images!r}")
    images = list(images)
    for image in images:
        if isinstance(image, str | Path):
            continue
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim not in (2, 3):
            found = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else repr(image)
            raise UserError(f"images: a file, or an array of uint8 [H, W, 3] is needed, found {found}")
    return images


def _best(scores: np.ndarray, names: Sequence[str] | None) -> dict[str, Any]:
    best = int(scores.argmax())
    return {"class_id": best, "score": float(scores[best]), "label_name": names[best] if names else None}

"""Runs an exported model on the CPU through Paddle Inference."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from paddle import inference

from ppcls_compress import data
from ppcls_compress.deploy import artifact
from ppcls_compress.engine.infer import classify, read_prepared
from ppcls_compress.errors import UserError

BATCH = 32


class Predictor:
    """An exported model, ready to run.

    Args:
        directory: the folder of the artifact.
        threads: for the arithmetic; None for all the cores that this process may use.

    Attributes:
        artifact: the description and the record that came with the network.

    Raises:
        UserError: the artifact is incomplete or damaged.

    Example:
        >>> predictor = Predictor("inference")
        >>> predictor.predict(["cat.jpg"])
        [{'class_id': 281, 'score': 0.93, 'label_name': 'tabby'}]
    """

    def __init__(self, directory: str | Path, *, threads: int | None = None) -> None:
        self.artifact = artifact.load(directory)
        threads = len(os.sched_getaffinity(0)) if threads is None else threads
        self._predictor = _create(self.artifact.directory, threads)
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])

    def run(self, images: np.ndarray) -> np.ndarray:
        """Preprocessed float32 images [N, C, H, W] to the network's output [N, classes], logits or probabilities.

        Raises:
            UserError: the images are of another shape than the network was exported for.
        """
        expected = self.artifact.description.image_shape
        if images.ndim != 4 or images.shape[1:] != expected or not len(images):
            raise UserError(f"the network takes images of shape [N, {str(expected)[1:-1]}], found {list(images.shape)}")
        images = np.ascontiguousarray(images, np.float32)
        self._input.reshape(images.shape)
        self._input.copy_from_cpu(images)
        self._predictor.run()
        return self._output.copy_to_cpu()

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Preprocessed float32 images [N, C, H, W] to class probabilities [N, classes]."""
        output = self.run(images)
        if self.artifact.description.output == "probabilities":
            return output
        powers = np.exp(output - output.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def predict(self, images: Sequence[str | Path | np.ndarray]) -> list[dict[str, Any]]:
        """The most likely class of each image: `{"class_id", "score", "label_name"}`, the name None if not known.

        Args:
            images: files, or arrays as `cv2.imread` gives them, uint8 [H, W, 3], blue first.

        Raises:
            UserError: an image cannot be read, or the artifact does not tell its preprocessing.
        """
        names, pipeline = self.artifact.description.class_names, self._pipeline()
        answers = []
        for start in range(0, len(images), BATCH):
            batch = [
                pipeline(image) if isinstance(image, np.ndarray) else read_prepared(image, pipeline)
                for image in images[start : start + BATCH]
            ]
            for row in self.probabilities(np.stack(batch)):
                best = int(row.argmax())
                name = names[best] if names else None
                answers.append({"class_id": best, "score": float(row[best]), "label_name": name})
        return answers

    def classify(
        self, paths: Iterable[Path], *, topk: int | None = None, batch_size: int = BATCH
    ) -> Iterator[dict[str, Any]]:
        """The `topk` most likely classes of each image file, see `engine.infer.classify`; None for as many as exported.

        Raises:
            UserError: an image cannot be read, or the artifact does not tell its preprocessing.
        """
        description = self.artifact.description
        return classify(
            self.probabilities,
            paths,
            self._pipeline(),
            topk=description.topk if topk is None else topk,
            class_names=description.class_names,
            batch_size=batch_size,
        )

    def _pipeline(self) -> data.Pipeline:
        ops = self.artifact.description.preprocess
        if not ops:
            raise UserError(
                f"{self.artifact.directory / artifact.DESCRIPTION}: PreProcess.transform_ops is empty, images cannot "
                "be prepared; export again with Infer.transforms in the configuration"
            )
        return data.build_pipeline(ops)


def _create(directory: Path, threads: int) -> inference.Predictor:
    config = inference.Config(str(directory / artifact.NETWORK), str(directory / artifact.PARAMETERS))
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    # oneDNN makes float networks 3 to 5 times as fast as the plain kernels, networks with integer weights 2 to 3 times.
    # Without the placement pass only what is fused with a convolution runs on it: at most an eighth slower, and faster
    # for integer weights. With the pass everything does, and in Paddle 3.3.1 oneDNN's `pad` writes past its memory when
    # the channel axis is padded, as in the shortcuts of CIFAR ResNets.
    config.enable_mkldnn()
    config.delete_pass("onednn_placement_pass")
    return inference.create_predictor(config)

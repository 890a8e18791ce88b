"""Runs a Paddle Inference artifact on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from paddle import inference

from ppcls_compress.deploy.formats import FORMATS


class PaddleSession:
    """A network with one input and one output in Paddle Inference."""

    def __init__(self, predictor: inference.Predictor) -> None:
        self._predictor = predictor
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])

    def run(self, images: np.ndarray) -> np.ndarray:
        """Float32 images [N, C, H, W] to logits or probabilities [N, classes]."""
        self._input.reshape(images.shape)
        self._input.copy_from_cpu(images)
        self._predictor.run()
        return self._output.copy_to_cpu()


def create(folder: Path, threads: int) -> inference.Predictor:
    """A predictor for the format `paddle`."""
    config = inference.Config(*(str(folder / name) for name in FORMATS["paddle"].files))
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

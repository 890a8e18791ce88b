"""Runs a Paddle Inference artifact on the CPU."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from paddle import inference

from ppcls_compress.deploy.paddle.files import PROGRAM


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
    config = inference.Config(*(str(folder / name) for name in PROGRAM))
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    # oneDNN makes float networks 3 to 5 times as fast as the plain kernels, networks with integer weights 2 to 3 times.
    config.enable_mkldnn()
    if _keep_off_onednn(folder):
        config.delete_pass("onednn_placement_pass")
    return inference.create_predictor(config)


_PADS_OR_ROUNDS = re.compile(r'"#"\s*:\s*"1\.(pad|pad3d|fake_quantize\w*)"')


def _keep_off_onednn(folder: Path) -> bool:
    """Whether only what is fused with a convolution should run on oneDNN.

    In Paddle 3.3.1 its `pad` writes past its memory when the channels are padded, as in the shortcuts of CIFAR ResNets.
    Rounding has no kernel there, and moving tensors to and fro costs more than the other kernels save.
    """
    network = folder / PROGRAM[0]
    return _PADS_OR_ROUNDS.search(network.read_text(encoding="utf-8")) is not None

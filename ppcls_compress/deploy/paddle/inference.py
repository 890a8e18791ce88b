"""Runs a Paddle Inference artifact on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from paddle import inference

from ppcls_compress.deploy.paddle.files import PROGRAM
from ppcls_compress.deploy.program import Program, inputs, kind, outputs


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


_IMAGES = "data"
"""The operator that gives what the network is given."""

OneDNN = Literal["all", "apart", "fused", "off"]
"""What runs on oneDNN: what has a kernel there, the same with products and sums apart, only what is fused, or nothing.

In Paddle 3.3.1 a product that is fused with the sum after it takes all axes but the first for one, which ends windowed
attention as in Swin.
"""


def create(folder: Path, threads: int, onednn: OneDNN = "all") -> inference.Predictor:
    """A predictor for the format `paddle`.

    Args:
        folder: of the files.
        threads: for the arithmetic.
        onednn: what runs on oneDNN; less of it where it is known to end there.

    Raises:
        UserError: the file of the program is missing or holds something else.
    """
    program = Program.read(folder / PROGRAM[0])
    config = inference.Config(*(str(folder / name) for name in PROGRAM))
    config.disable_gpu()
    config.disable_glog_info()
    if rounds_constants(program):
        config.delete_pass("constant_folding_pass")
    config.set_cpu_math_library_num_threads(threads)
    # oneDNN makes float networks 3 to 5 times as fast as the plain kernels, networks with integer weights 2 to 3 times.
    if onednn == "off":
        config.disable_mkldnn()
        return inference.create_predictor(config)
    config.enable_mkldnn()
    if onednn == "apart":
        config.delete_pass("matmul_add_act_fuse_pass")
    if onednn == "fused" or _kept_off_onednn(program):
        config.delete_pass("onednn_placement_pass")
    if leaks(program):
        config.delete_pass("conv_activation_onednn_fuse_pass")
    return inference.create_predictor(config)


def resizes(program: Program) -> bool:
    """Whether the network holds resizing that ends Paddle 3.3.0 and 3.3.1 on oneDNN (PaddlePaddle issue 77340).

    The factor is an array of doubles, empty where a size is given, which they do not hand to oneDNN's kernels.
    """
    return not program.kinds().isdisjoint(("nearest_interp", "bilinear_interp"))


def leaks(program: Program) -> bool:
    """Whether the network holds a leaky ReLU, which ends Paddle 3.3.1 where oneDNN fuses it with a convolution."""
    return "leaky_relu" in program.kinds()


def rounds_constants(program: Program) -> bool:
    """Whether a quantized layer reads what follows from no image, as the tables of positions in Swin Transformer V2.

    Paddle 3.3.1 computes such things when it loads a program, and ends with an error at what rounds them.
    """
    follows: set[int] = set()
    for op in program.operators:
        if kind(op) == _IMAGES or not follows.isdisjoint(inputs(op)):
            follows.update(outputs(op))
        elif _rounds(kind(op)):
            return True
    return False


def _rounds(name: str) -> bool:
    return name.startswith("fake_quantize")


def _kept_off_onednn(program: Program) -> bool:
    """Whether only what is fused with a convolution should run on oneDNN.

    For resizing see above. In Paddle 3.3.1 its `pad` writes past its memory when the channels are padded, as in the
    shortcuts of CIFAR ResNets. Rounding has no kernel there, and moving tensors to and fro costs more than the other
    kernels save.
    """
    kinds = program.kinds()
    return resizes(program) or not kinds.isdisjoint(("pad", "pad3d")) or any(map(_rounds, kinds))

"""Runs a Paddle Inference artifact on the CPU."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

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


_ROUNDING = r"fake_quantize\w*"

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
    """
    config = inference.Config(*(str(folder / name) for name in PROGRAM))
    config.disable_gpu()
    config.disable_glog_info()
    if rounds_constants(folder):
        config.delete_pass("constant_folding_pass")
    config.set_cpu_math_library_num_threads(threads)
    # oneDNN makes float networks 3 to 5 times as fast as the plain kernels, networks with integer weights 2 to 3 times.
    if onednn == "off":
        config.disable_mkldnn()
        return inference.create_predictor(config)
    config.enable_mkldnn()
    if onednn == "apart":
        config.delete_pass("matmul_add_act_fuse_pass")
    if onednn == "fused" or _kept_off_onednn(folder):
        config.delete_pass("onednn_placement_pass")
    if leaks(folder):
        config.delete_pass("conv_activation_onednn_fuse_pass")
    return inference.create_predictor(config)


def resizes(folder: Path) -> bool:
    """Whether the network holds resizing that ends Paddle 3.3.0 and 3.3.1 on oneDNN (PaddlePaddle issue 77340).

    The factor is an array of doubles, empty where a size is given, which they do not hand to oneDNN's kernels.
    """
    return _holds(folder, "nearest_interp|bilinear_interp")


def leaks(folder: Path) -> bool:
    """Whether the network holds a leaky ReLU, which ends Paddle 3.3.1 where oneDNN fuses it with a convolution."""
    return _holds(folder, "leaky_relu")


def rounds_constants(folder: Path) -> bool:
    """Whether a quantized layer reads what follows from no image, as the tables of positions in Swin Transformer V2.

    Paddle 3.3.1 computes such things when it loads a program, and ends with an error at what rounds them.
    """
    if not _holds(folder, _ROUNDING):
        return False
    program = json.loads((folder / PROGRAM[0]).read_text(encoding="utf-8"))["program"]
    follows: set[int] = set()
    for operator in program["regions"][0]["blocks"][0]["ops"]:
        if operator["#"] == "1.data" or not follows.isdisjoint(_values(operator.get("I"))):
            follows |= _values(operator["O"])
        elif re.fullmatch(rf"1\.{_ROUNDING}", operator["#"]):
            return True
    return False


def _values(operands: Any) -> set[int]:
    """The numbers of an operator's inputs, or outputs, in Paddle's JSON: a list of them, or a single one."""
    return {value["%"] for value in (operands if isinstance(operands, list) else [operands]) if value}


def _kept_off_onednn(folder: Path) -> bool:
    """Whether only what is fused with a convolution should run on oneDNN.

    For resizing see above. In Paddle 3.3.1 its `pad` writes past its memory when the channels are padded, as in the
    shortcuts of CIFAR ResNets. Rounding has no kernel there, and moving tensors to and fro costs more than the other
    kernels save.
    """
    return resizes(folder) or _holds(folder, rf"pad|pad3d|{_ROUNDING}")


def _holds(folder: Path, operators: str) -> bool:
    """Whether the program has one of the operators, given as a pattern."""
    program = (folder / PROGRAM[0]).read_text(encoding="utf-8")
    return re.search(rf'"#"\s*:\s*"1\.({operators})"', program) is not None

"""Paddle Inference on integer kernels: a program for oneDNN, and the options for it to run as it was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import paddle
from paddle import inference

from ppcls_compress.deploy.network import Deployed
from ppcls_compress.deploy.notes import Written, binding, some
from ppcls_compress.deploy.paddle import onednn_lower, onednn_ops
from ppcls_compress.deploy.paddle.onednn_program import Program
from ppcls_compress.postprocess.base import SOFTMAX
from ppcls_compress.slim import quant
from ppcls_compress.slim.copying import copied
from ppcls_compress.slim.graph import capture_or_refuse

NETWORK = "inference.pdmodel"
PARAMETERS = "inference.pdiparams"
_INPUT = "image"
_BATCH = 7
"""Of the capture; a number that hardly any layer has, for the first axis to be told from others by it."""


def export(model: paddle.nn.Layer, folder: str | Path, *, image_shape: Sequence[int], ending: str = SOFTMAX) -> Written:
    """Write `folder`/inference.pdmodel and .pdiparams: int8 weights, batch norms folded, free batch size.

    Args:
        model: fake-quantized, maps [N, C, H, W] images to [N, classes]; neither it nor Paddle's mode changes.
        folder: exists.
        image_shape: (C, H, W).
        ending: `softmax` or `sigmoid`, for an output of probabilities; `none` for logits.

    Raises:
        NoFormError: a layer or operator has no form for oneDNN; says which.
        UserError: a layer is not calibrated, or the network's forward pass fails.
    """
    learned = quant.grids(model)
    lowering, output = lowered(model, learned, image_shape, ending, onednn_lower.Lowering)
    lowering.program.save(output, Path(folder) / NETWORK, Path(folder) / PARAMETERS)
    return Written(lowering.layers(), [*symmetric(learned), *_notes(model, learned)])


def lowered(
    model: paddle.nn.Layer,
    learned: Mapping[str, quant.LayerGrid],
    image_shape: Sequence[int],
    ending: str,
    kind: type[onednn_lower.Lowering],
) -> tuple[onednn_lower.Lowering, str]:
    """A model as a program that is not saved yet.

    Args:
        model: as in `export`.
        learned: grids of its layers, none of a float one; the program has symmetric ones that hold the same values.
        kind: how it is written.

    Returns:
        What wrote it, and the name of its output.

    Raises:
        NoFormError: a layer or operator has no form; says which.
        UserError: the network's forward pass fails.
    """
    onednn_lower.check(learned, kind.target)
    grids = {f"network.{name}": grid.plain() for name, grid in learned.items()}
    plain = copied(quant.native(model))
    network = Deployed(quant.convert(plain) if learned else plain, ending=ending)
    graph = capture_or_refuse(network, [[_BATCH, *image_shape]])
    lowering = kind(graph, grids, Program(_INPUT, image_shape))
    return lowering, onednn_ops.write(lowering)


def symmetric(grids: Mapping[str, quant.LayerGrid]) -> list[str]:
    """A line for the user where grids are others than in training; none where they are the same."""
    changed = [name for name, grid in grids.items() if grid.input != grid.input.plain()]
    if not changed:
        return []
    return [
        f"{some(changed)}: zero points other than 0 and ranges per channel do not exist here; symmetric grids, one for "
        "each tensor"
    ]


def clipped(grids: Mapping[str, quant.LayerGrid]) -> list[str]:
    """A line for each layer whose input is clipped to another range than its grid's."""
    given = {name: grid.plain().input for name, grid in grids.items()}
    return [binding(name, grid.clip, grid.limit) for name, grid in given.items() if grid.clip is not None]


def left_float(model: paddle.nn.Layer) -> list[str]:
    """A line for the user where training rounded more than the inputs of layers."""
    if not quant.is_placed(model):
        return []
    return ["only inputs of layers are rounded; the sums and other tensors that placement: deploy rounds are not"]


def _notes(model: paddle.nn.Layer, grids: Mapping[str, quant.LayerGrid]) -> list[str]:
    notes = clipped(grids)
    again = [name for name, grid in grids.items() if not _survives(grid.weight)]
    if again:
        others = f" and {len(again) - 1} more layers" if again[1:] else ""
        notes.append(
            f"{again[0]}{others}: Paddle's passes round the weights of each channel once more, to the grid of its "
            "largest one, which is not 127 steps here"
        )
    return [*notes, *left_float(model)]


def _survives(weight: quant.WeightGrid) -> bool:
    """Whether the largest integer of every channel is 127, or the channel empty."""
    others = tuple(axis for axis in range(weight.integers.ndim) if axis != weight.axis)
    largest = np.abs(weight.integers.astype(np.int32)).max(axis=others)
    return bool(np.isin(largest, (0, weight.levels)).all())


def create(folder: str | Path, threads: int) -> inference.Predictor:
    """The exported program, ready to run.

    Args:
        folder: that `export` wrote to.
        threads: for the arithmetic.
    """
    config = inference.Config(str(Path(folder) / NETWORK), str(Path(folder) / PARAMETERS))
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    config.enable_mkldnn()
    config.enable_mkldnn_int8()
    # It adds a residual inside the convolution, on a range that training does not have; in Paddle 3.3.1 it is also
    # wrong where the activation after it is not a ReLU.
    config.delete_pass("conv_elementwise_add_onednn_fuse_pass")
    config.enable_memory_optim()  # tensors share memory: less of it, and up to a sixth faster
    return inference.create_predictor(config)

"""Writes a model as a PIR program for Paddle Inference, with integer weights if it is quantized."""

from __future__ import annotations

from pathlib import Path

import paddle

from ppcls_compress.deploy.kinds import Job
from ppcls_compress.deploy.network import Deployed
from ppcls_compress.deploy.notes import Written, binding
from ppcls_compress.deploy.paddle.files import PROGRAM
from ppcls_compress.deploy.paddle.inference import leaks, resizes, rounds_constants
from ppcls_compress.deploy.program import Program
from ppcls_compress.errors import UserError
from ppcls_compress.slim import quant
from ppcls_compress.slim.graph import inference_mode
from ppcls_compress.slim.quant import inference
from ppcls_compress.slim.tracing import save_program

_SLOW = "runs anywhere, slower than the float network: its integers are turned to float; other formats keep them"

_RESIZES = (
    "resizes, which on oneDNN ends PaddlePaddle 3.3.0 and 3.3.1 (PaddlePaddle issue 77340): kept off it by this "
    'package, elsewhere by config.delete_pass("onednn_placement_pass")'
)

_LEAKS = (
    "a leaky ReLU behind a convolution ends PaddlePaddle 3.3.1 on oneDNN: not fused by this package, elsewhere by "
    'config.delete_pass("conv_activation_onednn_fuse_pass")'
)

_ROUNDS_CONSTANTS = (
    "a quantized layer reads what follows from no image, which PaddlePaddle 3.3.1 fails to compute ahead; not asked to "
    'by this package, elsewhere by config.delete_pass("constant_folding_pass")'
)

_TROUBLES = ((resizes, _RESIZES), (leaks, _LEAKS), (rounds_constants, _ROUNDS_CONSTANTS))
"""What Paddle Inference fails at unless it is told otherwise, and how the user is told."""

_NOT_FOLDED = "batch norms stay by themselves: the network uses what a convolution gives in another way too"


def write(job: Job, folder: Path) -> Written:
    """Write the network files of the format `paddle`, with a free batch size.

    Weights are stored as integers if the record says so (`onnx_format`). Paddle's mode and the model are the same after
    it as before.

    Raises:
        UserError: the model cannot be captured, or a quantized layer is not calibrated.
    """
    model, names, notes = job.model, [], []
    if job.quantization is not None:
        inputs = [(name, grid.input) for name, grid in inference.grids(model).items() if grid.input is not None]
        notes = [binding(name, grid.clip, grid.limit) for name, grid in inputs if None not in (grid.clip, grid.limit)]
        notes.append(_SLOW)
        integers = job.quantization["options"]["onnx_format"]
        names = list(quant.quant_layers(quant.native(model))) if integers else []
        model = quant.to_inference(model, integers=integers)
        if not inference.fold_batch_norms(model, [[2, *job.image_shape]]):
            notes.append(_NOT_FOLDED)
    network, parameters = PROGRAM
    spec = paddle.static.InputSpec([None, *job.image_shape], "float32", "image")
    deployed = Deployed(model, ending=job.ending)
    with inference_mode(deployed):
        save_program(deployed, str(folder / Path(network).stem), [spec])
    if not (folder / network).exists():
        raise UserError(f"PaddlePaddle wrote no {network}: export needs FLAGS_enable_pir_api=1, its default")
    if not (folder / parameters).exists():
        raise UserError(f"{type(job.model).__name__} has no parameters: there is nothing to export")
    program = Program.read(folder / network)
    notes += [told for troubles, told in _TROUBLES if troubles(program)]
    return Written(names, notes)

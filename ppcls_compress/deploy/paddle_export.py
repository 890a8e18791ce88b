"""Writes a model as an artifact for Paddle Inference, checked before it takes its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppcls_compress import io
from ppcls_compress.config.transforms import Transform
from ppcls_compress.deploy import artifact, verify
from ppcls_compress.errors import UserError
from ppcls_compress.slim import quant
from ppcls_compress.slim.graph import inference_mode
from ppcls_compress.slim.record import empty_record, step_of


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote.

    Attributes:
        artifact: the exported model.
        files: bytes of each file.
        parity: how far it is from the model; None when it was not compared.
    """

    artifact: artifact.Artifact
    files: dict[str, int]
    parity: verify.ParityReport | None

    @property
    def bytes(self) -> int:
        """Size on disk, all files counted."""
        return sum(self.files.values())


def export(
    model: paddle.nn.Layer,
    directory: str | Path,
    *,
    image_shape: Sequence[int],
    record: Mapping[str, Any] | None = None,
    softmax: bool = True,
    preprocess: Sequence[Transform] = (),
    class_names: Sequence[str] | None = None,
    topk: int = 5,
    model_name: str | None = None,
    params: int | None = None,
    flops: int | None = None,
    images: np.ndarray | None = None,
    tolerance: verify.Tolerance | None = None,
) -> ExportResult:
    """Write `model` to `directory`, with integer weights if it is quantized (`onnx_format`) and a free batch size.

    An artifact that is there already is replaced only when the new one is complete and passed the comparison. Paddle's
    mode and the model are the same after it as before.

    Args:
        model: maps images [N, C, H, W] to logits [N, classes], or to a list of such whose first counts.
        directory: the artifact's folder; other files in it are left alone.
        image_shape: [C, H, W].
        record: the compression record of the model, `{"version", "steps"}`; None for a dense model.
        softmax: end the network with a softmax, as PaddleClas does, so that it gives probabilities.
        preprocess: from an encoded image to the network's input.
        class_names: by class index.
        topk: how many classes an answer lists.
        model_name: the backbone.
        params: number of parameters, for the description.
        flops: multiply-adds for one image, for the description.
        images: float32 [N, C, H, W] to compare model and artifact on, in a fresh process; None leaves that out.
        tolerance: of the comparison; None for the default of a float or of a quantized network.

    Raises:
        UserError: the folder cannot be written, the model cannot be captured, or the comparison failed.
    """
    record = dict(record or empty_record())
    quantized = step_of(record, "quant")
    description = artifact.Description(
        image_shape=tuple(image_shape),
        output="probabilities" if softmax else "logits",
        preprocess=tuple(preprocess),
        class_names=None if class_names is None else tuple(class_names),
        topk=topk,
        model_name=model_name,
        params=params,
        flops=flops,
    )
    with artifact.staged(directory) as staging:
        if quantized is not None:
            _save(quant.to_inference(model, integers=quantized["options"]["onnx_format"]), staging, description)
        else:
            _save(model, staging, description)
        artifact.write_description(staging, description)
        if record["steps"]:
            io.write_json(staging / artifact.RECORD, record, indent=None)
        report = None if images is None else verify.parity(model, staging, images, tolerance=tolerance)
    written = artifact.load(directory)
    return ExportResult(written, written.sizes(), report)


class _Deployed(paddle.nn.Layer):
    """The network as its users call it: one input, one output."""

    def __init__(self, network: paddle.nn.Layer, *, softmax: bool) -> None:
        super().__init__()
        self.network = network
        self.softmax = softmax

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """[N, C, H, W] -> [N, classes]."""
        output = verify.first_output(self.network(images))
        return paddle.nn.functional.softmax(output, axis=-1) if self.softmax else output


def _save(model: paddle.nn.Layer, folder: Path, description: artifact.Description) -> None:
    spec = paddle.static.InputSpec([None, *description.image_shape], "float32", "image")
    deployed = _Deployed(model, softmax=description.output == "probabilities")
    prefix = str(folder / Path(artifact.NETWORK).stem)
    with inference_mode(deployed):
        paddle.jit.save(deployed, prefix, input_spec=[spec])
    if not (folder / artifact.NETWORK).exists():
        raise UserError(f"PaddlePaddle wrote no {artifact.NETWORK}: export needs FLAGS_enable_pir_api=1, its default")
    if not (folder / artifact.PARAMETERS).exists():
        raise UserError(f"{type(model).__name__} has no parameters: there is nothing to export")

"""Model -> ONNX file, float or with integer weights, laid out for one runtime."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ppcls_compress.deploy.extras import require
from ppcls_compress.deploy.kinds import Shared
from ppcls_compress.deploy.notes import Written
from ppcls_compress.deploy.onnx.files import EXTRAS, LAYOUTS, MODEL
from ppcls_compress.deploy.onnx.quiet import quiet
from ppcls_compress.errors import UserError, unknown
from ppcls_compress.postprocess.base import OUTPUTS
from ppcls_compress.slim import quant


@dataclass(frozen=True, kw_only=True)
class Exported(Written):
    """What an export wrote, and the file `path`."""

    path: Path


def export(
    model: paddle.nn.Layer,
    out_dir: str | Path,
    *,
    image_shape: Sequence[int],
    layout: str,
    output: str = "probabilities",
    calibration: Iterable[np.ndarray] | None = None,
    shared: Shared | None = None,
) -> Exported:
    """Write `out_dir`/model.onnx, whole or not at all: batch norms folded, free batch size, input `image`.

    Args:
        model: float or fake-quantized, maps [N, C, H, W] images to [N, classes]; not changed.
        out_dir: the folder; created if missing.
        image_shape: (C, H, W).
        layout: `ort`, `openvino`, `qdq` or `rknn`; the same graph for a float model, of a batch of one for `rknn`.
        output: what it is to give, a name in `postprocess.base.OUTPUTS`; the file's metadata says so.
        calibration: preprocessed images, float32 [N, C, H, W] each, some hundred in all; of a quantized model for all
            layouts but `openvino`, unless it was trained with `placement: deploy`, and for layers that find their range
            anew for each batch.
        shared: of the exports of this model to several layouts, so that it is converted once.

    Raises:
        MissingDependencyError: a package is missing; says which extra brings it.
        UserError: the network has no ONNX form, a layer is not calibrated, or calibration images are missing.
    """
    if layout not in LAYOUTS:
        raise UserError(unknown("ONNX layout", layout, LAYOUTS))
    require(LAYOUTS[layout], EXTRAS[layout])
    from ppcls_compress.deploy.onnx import build  # which needs those packages

    images = None if calibration is None else list(calibration)
    path = Path(out_dir) / MODEL
    with quiet():
        found = build.build(
            quant.native(model), image_shape, layout, images, ending=OUTPUTS[output], shared=shared or Shared()
        )
        build.write(found, path, layout=layout, output=output)
    return Exported(path=path, quantized=found.quantized, notes=found.notes)

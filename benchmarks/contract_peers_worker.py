"""NNCF's quantization with accuracy control of an ONNX file, in NNCF's environment.

python contract_peers_worker.py SOURCE IMAGES TARGET DROP: `images.npz` holds `calibration`, `images` and `labels`.
"""

from __future__ import annotations

import sys

import nncf
import numpy as np
import onnx
import onnxruntime
from common import emit


def main(source: str, images: str, target: str, drop: float) -> None:
    """Quantize; may lose `drop`, a share of the images."""
    model, held = onnx.load(source), np.load(images)
    name = model.graph.input[0].name
    calibration = nncf.Dataset(list(held["calibration"]), lambda image: {name: image[None]})
    pairs = list(zip(held["images"], held["labels"], strict=True))
    validation = nncf.Dataset(pairs, lambda pair: {name: pair[0][None]})

    def score(found: onnx.ModelProto, chosen: object) -> tuple[float, list[float]]:
        session = onnxruntime.InferenceSession(found.SerializeToString(), providers=["CPUExecutionProvider"])
        right = [float(session.run(None, {name: image[None]})[0].argmax() == label) for image, label in chosen]
        return float(np.mean(right)), right

    found = nncf.quantize_with_accuracy_control(
        model, calibration, validation, score, max_drop=drop, subset_size=len(held["calibration"])
    )
    onnx.save(found, target)
    emit({"nodes": len(found.graph.node)})


if __name__ == "__main__":
    main(*sys.argv[1:4], float(sys.argv[4]))

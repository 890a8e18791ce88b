"""A float file quantized by a peer in its own environment: python calibration_peers_worker.py WORK NAME SPLIT..."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from calibrations import batches_of, images, judged
from common import emit

IMAGE = "image"


def quantize_static(work: Path) -> tuple[Path, str]:
    """ONNX Runtime's, as its documentation says: pre-processing, QDQ, weights per channel."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    found, _ = images(work, "calibration")

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = iter(batches_of(found))

        def get_next(self) -> dict | None:
            batch = next(self._batches, None)
            return None if batch is None else {IMAGE: batch}

    tidied, path = work / "tidied.onnx", work / "quantize_static.onnx"
    quant_pre_process(str(work / "float" / "model.onnx"), str(tidied), skip_symbolic_shape=True)
    quantization.quantize_static(str(tidied), str(path), Reader(), per_channel=True)
    return path, "onnxruntime"


def nncf(work: Path, preset: str, *, fast: bool) -> tuple[Path, str]:
    """NNCF's post-training quantization of the OpenVINO model, all images."""
    import nncf as package
    import openvino

    read, _ = images(work, "calibration")
    model = openvino.Core().read_model(str(work / "float" / "model.onnx"))
    found = package.quantize(
        model,
        package.Dataset([np.array(image)[None] for image in read]),
        preset=package.QuantizationPreset(preset),
        subset_size=len(read),
        fast_bias_correction=fast,
    )
    path = work / "nncf.xml"
    openvino.save_model(found, str(path), compress_to_fp16=False)
    return path, "openvino"


def runner(path: Path, runtime: str):
    """The file in its runtime, one thread."""
    if runtime == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda batch: session.run(None, {IMAGE: batch})[0]
    import openvino

    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    return lambda batch: compiled(batch)[0]


def main() -> None:
    """Quantize, run, and hand the result to the parent."""
    work, name, splits = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if name == "quantize_static":
        path, runtime = quantize_static(work)
    else:
        path, runtime = nncf(work, name.split()[1], fast="slow" not in name)
    weights = path if path.suffix == ".onnx" else path.with_suffix(".bin")
    emit(judged(work, splits, runner(path, runtime)) | {"runtime": runtime, "bytes": weights.stat().st_size})


if __name__ == "__main__":
    main()

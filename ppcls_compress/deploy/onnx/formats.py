"""The formats that ONNX Runtime and OpenVINO run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls_compress.deploy.kinds import BFLOAT16, Format, Job, Runtime, Session, Setting
from ppcls_compress.deploy.onnx.files import EXTRAS, LAYOUTS, MODEL

if TYPE_CHECKING:
    import numpy as np

    from ppcls_compress.deploy.notes import Written


def _onnx_writer(layout: str) -> Callable[[Job, Path], Written]:
    def write(job: Job, folder: Path) -> Written:
        from ppcls_compress.deploy.onnx.export import export

        return export(
            job.model,
            folder,
            image_shape=job.image_shape,
            layout=layout,
            output=job.output,
            calibration=job.calibration,
            shared=job.shared,
        )

    return write


def _onnx_opener(runtime: str, precision: str = "f32") -> Callable[[Path, int], Session]:
    def load(folder: Path, threads: int) -> Session:
        from ppcls_compress.deploy.onnx import runtime as onnx_runtime

        return onnx_runtime.load(folder / MODEL, runtime, threads=threads, precision=precision)

    return load


def _open_one_by_one(folder: Path, threads: int) -> Session:
    from ppcls_compress.deploy.onnx import runtime as onnx_runtime

    return onnx_runtime.OneByOne(onnx_runtime.load(folder / MODEL, "onnxruntime", threads=threads))


def _explain(job: Job, folder: Path, images: np.ndarray) -> str | None:
    from ppcls_compress.deploy.onnx.explaining import explain

    return explain(folder / MODEL, job.model, images)


def _onnx_kernels(runtime: str) -> Callable[[Path], dict[str, tuple[int, int]]]:
    def count(folder: Path) -> dict[str, tuple[int, int]]:
        from ppcls_compress.deploy.onnx import runtime as onnx_runtime

        return onnx_runtime.integer_share(folder / MODEL, runtime)

    return count


_ONNXRUNTIME = Runtime(
    name="onnxruntime",
    title="ONNX Runtime",
    open=_onnx_opener("onnxruntime"),
    integer_kernels=_onnx_kernels("onnxruntime"),
    extra="onnx",
    needs=("onnxruntime",),
)
_COMPARED = replace(_ONNXRUNTIME, integer_kernels=None)
"""For files that are meant for another runtime: which kernels take them here says nothing."""
_ONE_BY_ONE = replace(_COMPARED, open=_open_one_by_one)
_BFLOAT16 = Setting(
    BFLOAT16,
    "bfloat16",
    _onnx_opener("openvino", "bf16"),
    "what is not in integers computes in bfloat16; others run it so with INFERENCE_PRECISION_HINT=bf16; processors "
    "without bfloat16 take float32",
)
_OPENVINO = Runtime(
    name="openvino",
    title="OpenVINO",
    open=_onnx_opener("openvino"),
    integer_kernels=_onnx_kernels("openvino"),
    extra="openvino",
    needs=("openvino",),
    rounding=(_BFLOAT16,),
)
FORMATS = (
    Format(
        name="onnx-ort",
        folder="onnx-ort",
        files=(MODEL,),
        runtimes=(_ONNXRUNTIME, _OPENVINO),
        agreement=0.98,
        mean=0.05,
        write=_onnx_writer("ort"),
        extra=EXTRAS["ort"],
        writes=LAYOUTS["ort"],
        calibrated=True,
        fixed=True,
        explain=_explain,
    ),
    Format(
        name="onnx-openvino",
        folder="onnx-openvino",
        files=(MODEL,),
        runtimes=(_OPENVINO,),
        agreement=0.995,
        mean=0.02,
        write=_onnx_writer("openvino"),
        extra=EXTRAS["openvino"],
        writes=LAYOUTS["openvino"],
        fixed=True,
        explain=_explain,
    ),
    Format(
        name="onnx-qdq",
        folder="onnx-qdq",
        files=(MODEL,),
        runtimes=(_COMPARED,),
        agreement=0.98,
        mean=0.05,
        write=_onnx_writer("qdq"),
        extra=EXTRAS["qdq"],
        writes=LAYOUTS["qdq"],
        calibrated=True,
        rounds_more=True,
        fixed=True,
        any_grid=False,
        elsewhere="TensorRT",
    ),
    Format(
        name="onnx-rknn",
        folder="onnx-rknn",
        files=(MODEL,),
        runtimes=(_ONE_BY_ONE,),
        agreement=0.98,
        mean=0.05,
        write=_onnx_writer("rknn"),
        extra=EXTRAS["rknn"],
        writes=LAYOUTS["rknn"],
        calibrated=True,
        rounds_more=True,
        fixed=True,
        any_grid=False,
        elsewhere="RKNN",
    ),
)

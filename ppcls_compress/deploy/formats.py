"""The formats that a model is exported to: where each lies, how it is written, run, and judged.

One directory holds them all: `paddle` its files, the others a sub-folder each, so that any of them can be moved alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ppcls_compress.deploy.extras import TO_ONNX, require
from ppcls_compress.errors import ConfigError, UserError, unknown

if TYPE_CHECKING:
    import numpy as np
    import paddle

    from ppcls_compress.deploy.artifact import Artifact
    from ppcls_compress.deploy.notes import Written


class Session(Protocol):
    """A loaded network."""

    def run(self, images: np.ndarray) -> np.ndarray:
        """Float32 images [N, C, H, W] to logits or probabilities [N, classes]."""


@dataclass(frozen=True)
class Job:
    """A model to be written.

    Attributes:
        model: maps images [N, C, H, W] to logits [N, classes], or to a list of such whose first counts.
        image_shape: (C, H, W).
        softmax: whether the network ends with a softmax.
        quantization: the record's step of kind `quant`; None for a float network.
        calibration: preprocessed images [N, C, H, W]; None when there are none.
    """

    model: paddle.nn.Layer
    image_shape: tuple[int, int, int]
    softmax: bool
    quantization: Mapping[str, Any] | None
    calibration: Sequence[np.ndarray] | None = None


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: on the command line and in the description.
        folder: below the directory of all exports; empty for that directory itself.
        files: the network files.
        runtime: what runs it, for messages.
        agreement: fraction of real images whose most likely class must be that of the trained quantized network.
        mean: largest mean difference of its logits, relative to the largest logit.
        write: writes the files into a folder.
        open: loads them, with a number of threads.
        integer_kernels: (kernels that compute with integers, all of them) by kind of layer; None if that is not told.
        extra: of this package, which brings `writes` and `runs`.
        writes: what must be importable to write it, beside this package's own dependencies.
        runs: the same to run it.
        calibrated: whether quantized networks need calibration images.
        companions: formats that are written along with it for a quantized network.
        selectable: whether a user may ask for it; what is a companion only, may not.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    runtime: str
    agreement: float
    mean: float
    write: Callable[[Job, Path], Written]
    open: Callable[[Path, int], Session]
    integer_kernels: Callable[[Path], dict[str, tuple[int, int]]] | None = None
    extra: str = ""
    writes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    calibrated: bool = False
    companions: tuple[str, ...] = ()
    selectable: bool = True

    def require(self) -> None:
        """Check that the packages are there that an export takes, which writes the format and runs it to compare.

        Raises:
            MissingDependencyError: says which extra brings them.
        """
        require(tuple(dict.fromkeys((*self.writes, *self.runs))), self.extra)

    def require_runtime(self) -> None:
        """Check that the packages are there that run the format.

        Raises:
            MissingDependencyError: says which extra brings them.
        """
        require(self.runs, self.extra)


def get(name: str) -> Format:
    """The format of a name.

    Raises:
        UserError: no such format; the message names the closest.
    """
    if name not in FORMATS:
        raise UserError(unknown("export format", name, FORMATS))
    return FORMATS[name]


def chosen(names: Sequence[str]) -> list[Format]:
    """The formats that a user asks for, each once; `all` means every one.

    Raises:
        ConfigError: no such format; the message names the closest.
    """
    selectable = {name: kind for name, kind in FORMATS.items() if kind.selectable}
    for name in names:
        if name not in (*selectable, _EVERY):
            raise ConfigError(f"--format: {unknown('export format', name, (*selectable, _EVERY))}")
    return [kind for name, kind in selectable.items() if name in names or _EVERY in names]


_EVERY = "all"


def places(directory: Path) -> dict[str, Path]:
    """Where each format lies in a directory of exports."""
    return {kind.name: directory / kind.folder for kind in FORMATS.values()}


def open_session(exported: Artifact, threads: int) -> Session:
    """Load the network of an artifact into its runtime.

    Raises:
        MissingDependencyError: the runtime is not installed.
        UserError: the format is not known, or the runtime refuses the files.
    """
    kind = get(exported.description.format)
    missing = [name for name in kind.files if name not in exported.files]
    if missing:
        raise UserError(f"{exported.directory}: has no {', '.join(missing)}, which the format {kind.name} consists of")
    return kind.open(exported.directory, threads)


def _write_paddle(job: Job, folder: Path) -> Written:
    from ppcls_compress.deploy import paddle_export

    return paddle_export.write(job, folder)


def _open_paddle(folder: Path, threads: int) -> Session:
    from ppcls_compress.deploy.paddle_inference import PaddleSession, create

    return PaddleSession(create(folder, threads))


def _write_onednn(job: Job, folder: Path) -> Written:
    from ppcls_compress.deploy import onednn

    return onednn.export(job.model, folder, image_shape=job.image_shape, softmax=job.softmax)


def _open_onednn(folder: Path, threads: int) -> Session:
    from ppcls_compress.deploy import onednn
    from ppcls_compress.deploy.paddle_inference import PaddleSession

    return PaddleSession(onednn.create(folder, threads))


def _onednn_kernels(folder: Path) -> dict[str, tuple[int, int]]:
    from ppcls_compress.deploy import onednn_kernels

    return onednn_kernels.count(folder)


def _onnx_writer(layout: str) -> Callable[[Job, Path], Written]:
    def write(job: Job, folder: Path) -> Written:
        from ppcls_compress.deploy.onnx.export import export

        return export(
            job.model,
            folder,
            image_shape=job.image_shape,
            layout=layout,
            softmax=job.softmax,
            calibration=job.calibration,
        )

    return write


def _onnx_opener(runtime: str) -> Callable[[Path, int], Session]:
    def load(folder: Path, threads: int) -> Session:
        from ppcls_compress.deploy.onnx import runtime as onnx_runtime

        return onnx_runtime.load(folder / _ONNX, runtime, threads=threads)

    return load


def _onnx_kernels(runtime: str) -> Callable[[Path], dict[str, tuple[int, int]]]:
    def count(folder: Path) -> dict[str, tuple[int, int]]:
        from ppcls_compress.deploy.onnx import runtime as onnx_runtime

        return onnx_runtime.integer_share(folder / _ONNX, runtime)

    return count


_ONNX = "model.onnx"
_ALL = (
    Format(
        name="paddle",
        folder="",
        files=("inference.json", "inference.pdiparams"),
        runtime="Paddle Inference",
        agreement=0.98,
        mean=0.02,
        write=_write_paddle,
        open=_open_paddle,
        companions=("onednn",),
    ),
    Format(
        name="onednn",
        folder="onednn",
        files=("inference.pdmodel", "inference.pdiparams"),
        runtime="Paddle Inference on oneDNN's integer kernels",
        agreement=0.98,
        mean=0.05,
        write=_write_onednn,
        open=_open_onednn,
        integer_kernels=_onednn_kernels,
        selectable=False,
    ),
    Format(
        name="onnx-ort",
        folder="onnx-ort",
        files=(_ONNX,),
        runtime="ONNX Runtime",
        agreement=0.98,
        mean=0.05,
        write=_onnx_writer("ort"),
        open=_onnx_opener("onnxruntime"),
        integer_kernels=_onnx_kernels("onnxruntime"),
        extra="onnx",
        writes=(*TO_ONNX, "onnxruntime"),  # which finds the ranges of tensors
        runs=("onnxruntime",),
        calibrated=True,
    ),
    Format(
        name="onnx-openvino",
        folder="onnx-openvino",
        files=(_ONNX,),
        runtime="OpenVINO",
        agreement=0.995,
        mean=0.02,
        write=_onnx_writer("openvino"),
        open=_onnx_opener("openvino"),
        integer_kernels=_onnx_kernels("openvino"),
        extra="openvino",
        writes=TO_ONNX,
        runs=("openvino",),
    ),
)
FORMATS: Mapping[str, Format] = {item.name: item for item in _ALL}
"""By name, in the order in which they are written."""

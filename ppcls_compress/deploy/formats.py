"""The formats that a model is exported to: where each lies, how it is written, run, and judged.

One directory holds them all: `paddle` its files, the others a sub-folder each, so that any of them can be moved alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ppcls_compress.deploy.extras import TO_ONNX, missing, require
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
class Runtime:
    """What runs a format.

    Attributes:
        name: on the command line and in the description.
        title: for messages.
        open: loads the files, with a number of threads.
        integer_kernels: (kernels that compute with integers, all of them) by kind of layer; None if that is not told.
        extra: of this package, which brings `needs`.
        needs: what must be importable, beside this package's own dependencies.
    """

    name: str
    title: str
    open: Callable[[Path, int], Session]
    integer_kernels: Callable[[Path], dict[str, tuple[int, int]]] | None = None
    extra: str = ""
    needs: tuple[str, ...] = ()

    @property
    def installed(self) -> bool:
        """Whether it can be used here."""
        return not missing(self.needs)

    def require(self) -> None:
        """Check that it is installed.

        Raises:
            MissingDependencyError: says which extra brings it.
        """
        require(self.needs, self.extra)


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: on the command line and in the description.
        folder: below the directory of all exports; empty for that directory itself.
        files: the network files.
        runtimes: what runs it; the first is its own, which every export is compared in.
        agreement: fraction of real images whose most likely class must be that of the trained quantized network.
        mean: largest mean difference of its logits, relative to the largest logit.
        write: writes the files into a folder.
        extra: of this package, which brings `writes`.
        writes: what must be importable to write it, beside this package's own dependencies.
        calibrated: whether quantized networks need calibration images.
        companions: formats that are written along with it for a quantized network.
        selectable: whether a user may ask for it; what is a companion only, may not.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    runtimes: tuple[Runtime, ...]
    agreement: float
    mean: float
    write: Callable[[Job, Path], Written]
    extra: str = ""
    writes: tuple[str, ...] = ()
    calibrated: bool = False
    companions: tuple[str, ...] = ()
    selectable: bool = True

    def require(self) -> None:
        """Check that the packages are there that an export takes, which writes the format and runs it to compare.

        Raises:
            MissingDependencyError: says which extra brings them.
        """
        require(tuple(dict.fromkeys((*self.writes, *self.runtimes[0].needs))), self.extra)

    def runtime(self, name: str | None = None) -> Runtime:
        """One of its runtimes; None for its own.

        Raises:
            UserError: it does not run there; the message names where it does.
        """
        if name is None:
            return self.runtimes[0]
        names = [item.name for item in self.runtimes]
        if name not in names:
            raise UserError(f"the format {self.name} does not run in {name!r}; it runs in {' and '.join(names)}")
        return self.runtimes[names.index(name)]


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


def open_session(exported: Artifact, threads: int, runtime: str | None = None) -> Session:
    """Load the network of an artifact into a runtime of its format, None for the format's own.

    Raises:
        MissingDependencyError: the runtime is not installed.
        UserError: the format is not known or does not run there, or the runtime refuses the files.
    """
    kind = get(exported.description.format)
    chosen = kind.runtime(runtime)
    lacking = [name for name in kind.files if name not in exported.files]
    if lacking:
        raise UserError(f"{exported.directory}: has no {', '.join(lacking)}, which the format {kind.name} consists of")
    chosen.require()
    return chosen.open(exported.directory, threads)


ELSEWHERE = "elsewhere"
"""In what an artifact tells of its comparison: what was found in further runtimes, by name."""


def refusal(exported: Artifact, runtime: str | None) -> str | None:
    """Why an artifact must not be used in a runtime of its format, or None.

    One that was compared with its model has proven itself in the runtimes that it was compared in, and in no other.
    """
    found, chosen = exported.description.parity, get(exported.description.format).runtime(runtime)
    if not found or chosen == get(exported.description.format).runtime():
        return None
    there = found.get(ELSEWHERE, {}).get(chosen.name)
    if there is None:
        return f"was not compared with its model in {chosen.title}; export it again where that is installed"
    problem = there.get("problem")
    return None if problem is None else f"failed the comparison with its model in {chosen.title}: {problem}"


def _write_paddle(job: Job, folder: Path) -> Written:
    from ppcls_compress.deploy.paddle import export as paddle_export

    return paddle_export.write(job, folder)


def _open_paddle(folder: Path, threads: int) -> Session:
    from ppcls_compress.deploy.paddle.inference import PaddleSession, create

    return PaddleSession(create(folder, threads))


def _write_onednn(job: Job, folder: Path) -> Written:
    from ppcls_compress.deploy.paddle import onednn

    return onednn.export(job.model, folder, image_shape=job.image_shape, softmax=job.softmax)


def _open_onednn(folder: Path, threads: int) -> Session:
    from ppcls_compress.deploy.paddle import onednn
    from ppcls_compress.deploy.paddle.inference import PaddleSession

    return PaddleSession(onednn.create(folder, threads))


def _onednn_kernels(folder: Path) -> dict[str, tuple[int, int]]:
    from ppcls_compress.deploy.paddle import onednn_kernels

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
_ONNXRUNTIME = Runtime(
    name="onnxruntime",
    title="ONNX Runtime",
    open=_onnx_opener("onnxruntime"),
    integer_kernels=_onnx_kernels("onnxruntime"),
    extra="onnx",
    needs=("onnxruntime",),
)
_OPENVINO = Runtime(
    name="openvino",
    title="OpenVINO",
    open=_onnx_opener("openvino"),
    integer_kernels=_onnx_kernels("openvino"),
    extra="openvino",
    needs=("openvino",),
)
_ALL = (
    Format(
        name="paddle",
        folder="",
        files=("inference.json", "inference.pdiparams"),
        runtimes=(Runtime("paddle", "Paddle Inference", _open_paddle),),
        agreement=0.98,
        mean=0.02,
        write=_write_paddle,
        companions=("onednn",),
    ),
    Format(
        name="onednn",
        folder="onednn",
        files=("inference.pdmodel", "inference.pdiparams"),
        runtimes=(Runtime("paddle", "Paddle Inference on oneDNN's integer kernels", _open_onednn, _onednn_kernels),),
        agreement=0.98,
        mean=0.05,
        write=_write_onednn,
        selectable=False,
    ),
    Format(
        name="onnx-ort",
        folder="onnx-ort",
        files=(_ONNX,),
        runtimes=(_ONNXRUNTIME, _OPENVINO),
        agreement=0.98,
        mean=0.05,
        write=_onnx_writer("ort"),
        extra="onnx",
        writes=(*TO_ONNX, "onnxruntime"),  # which finds the ranges of tensors
        calibrated=True,
    ),
    Format(
        name="onnx-openvino",
        folder="onnx-openvino",
        files=(_ONNX,),
        runtimes=(_OPENVINO,),
        agreement=0.995,
        mean=0.02,
        write=_onnx_writer("openvino"),
        extra="openvino",
        writes=TO_ONNX,
    ),
)
FORMATS: Mapping[str, Format] = {item.name: item for item in _ALL}
"""By name, in the order in which they are written."""
RUNTIMES = tuple(dict.fromkeys(item.name for kind in _ALL for item in kind.runtimes))
"""The names of all runtimes."""

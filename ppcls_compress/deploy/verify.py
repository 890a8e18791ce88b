"""The proof that an artifact computes what the trained model does, by running it in a fresh process.

`python -m ppcls_compress.deploy.verify REQUEST.json` is that process. It does not import the trained model's framework
where the runtime is another one.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppcls_compress import io
from ppcls_compress.deploy import artifact, formats, fresh
from ppcls_compress.deploy.compare import FLOAT, ParityReport, Reference, Tolerance, compare, problem
from ppcls_compress.deploy.predictor import BATCH, Predictor
from ppcls_compress.errors import UserError
from ppcls_compress.slim.record import step_of

if TYPE_CHECKING:
    import paddle

    from ppcls_compress.deploy.nursery import Nursery


class ParityError(UserError):
    """An artifact does not compute what its model does."""


def default_tolerance(format_name: str, *, quantized: bool, agreement: float | None = None) -> Tolerance:
    """What a format must keep to.

    Args:
        format_name: as in `deploy.formats`.
        quantized: whether the network is, or float is computed with fewer bits; else the default is `FLOAT`.
        agreement: instead of the default; logits may then differ on average as much as classes may, and single ones
            more, unless it is 1.
    """
    kind = formats.get(format_name)
    default = Tolerance(kind.agreement, kind.mean) if quantized else FLOAT
    if agreement is None:
        return default
    return Tolerance(agreement, max(default.mean, 1 - agreement), default.maximum if agreement == 1 else None)


def reference(
    model: paddle.nn.Layer,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    kind: str = "classes",
    source: str = "images",
    synthetic: bool = False,
) -> Reference:
    """The answers of `model`, fake-quantized if it is so and not changed, on `images`, float32 [N, C, H, W].

    Args:
        labels: as `Reference` has them.
        kind: as `Reference` has it.
        source: what the images are, for messages.
        synthetic: whether they are random.

    Raises:
        UserError: an answer is not finite, not the same each time, or no number for each class.
    """
    from ppcls_compress.deploy.network import sound_logits_of

    logits = sound_logits_of(model, images, source)
    return Reference(images, logits, kind, labels, f"{len(images)} {source}", synthetic)


@dataclass(frozen=True)
class Elsewhere:
    """What a comparison in a further runtime found.

    Attributes:
        report: how far the artifact is from the model there; None when it did not run.
        problem: why it must not be used there; None when it may.
    """

    report: ParityReport | None
    problem: str | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        told = {} if self.problem is None else {"problem": self.problem}
        return told if self.report is None else {**self.report.plain(), **told}


def parity(
    reference: Reference,
    directory: str | Path,
    *,
    tolerance: Tolerance | None = None,
    nursery: Nursery | None = None,
) -> ParityReport:
    """Compare a model's answers with those of its artifact in its own runtime, in a fresh process.

    Args:
        reference: the model's answers.
        directory: the folder of the artifact.
        tolerance: None for the default of the format.
        nursery: where the process is forked; None starts one.

    Raises:
        ParityError: the artifact is further from the model than `tolerance` allows.
        UserError: the artifact does not run.
    """
    exported = artifact.load(directory)
    run = run_fresh if nursery is None else partial(run_fresh, nursery=nursery)
    report, problem = _judged(reference, exported, tolerance, run)
    if problem is not None:
        raise ParityError(
            f"{exported.description.format}: the exported network does not compute what the trained one does: "
            f"{problem}; found: {report}{_advice(exported, report)}"
        )
    return report


def _advice(exported: artifact.Artifact, report: ParityReport) -> str:
    """How sure the agreement is, and what helps, as the end of a message."""
    name, lines = exported.description.format, []
    if report.kind == "classes" and report.agreement < report.bound:
        low, high = report.interval
        short = 100 * (report.bound - report.agreement)
        lines.append(f"that is {short:.2f} points short; {report.count} images place it from {low:.1%} to {high:.1%}")
        if high >= report.bound and not report.synthetic:
            lines.append("more images tell more: Global.export_check_images, and a longer validation list")
    step = step_of(exported.record, "quant")
    placement = None if step is None else step.get("options", {}).get("placement", "input")
    if placement == "deploy" and name != _DEPLOYED:
        lines.append(f"a network trained with placement: deploy is meant for {_DEPLOYED}, which runs in OpenVINO too")
    elif step is not None and placement != "deploy" and name == _DEPLOYED:
        lines.append("Slim.quant.placement: deploy also trains the roundings that this format adds")
    if step is not None:
        lines.append("ppcls-compress analyze names the layers whose ranges explain it")
    if report.agreement > _USABLE:
        share = math.floor(1000 * report.agreement) / 1000
        lines.append(f"-o 'Global.export_agreement={{{name}: {share:g}}}' takes it as it is")
    return "".join(f"; {line}" for line in lines)


_USABLE = 0.9
"""Less agreement than this is another network, which nobody is advised to take."""


_DEPLOYED = "onnx-ort"


def parity_elsewhere(
    reference: Reference, directory: str | Path, *, tolerance: Tolerance | None = None
) -> dict[str, Elsewhere]:
    """The same comparison in the further runtimes of its format that are installed, by their names.

    What fails there is no error: the artifact keeps what its own runtime promises. It must not have its own comparison
    written down yet, for what has is opened only in the runtimes that it names.
    """
    exported, found = artifact.load(directory), {}
    for item in formats.get(exported.description.format).runtimes[1:]:
        if item.installed:
            try:
                found[item.name] = Elsewhere(*_judged(reference, exported, tolerance, run_fresh, item.name))
            except UserError as error:
                found[item.name] = Elsewhere(None, f"it does not run there: {error}")
    return found


def _judged(
    reference: Reference,
    exported: artifact.Artifact,
    tolerance: Tolerance | None,
    run: Callable[..., tuple[np.ndarray, dict[str, tuple[int, int]]]],
    runtime: str | None = None,
) -> tuple[ParityReport, str | None]:
    """How far an artifact is from the model in a runtime, and what of it is worse than allowed."""
    about = exported.description
    rounded = exported.quantized or formats.get(about.format).runtime().rounds(about.setting)
    default = default_tolerance(about.format, quantized=rounded)
    tolerance = tolerance or default
    outputs, kernels = run(exported.directory, reference.images, runtime)
    report = compare(reference, outputs, tolerance, default=default, kernels=kernels)
    strict = rounded and not reference.synthetic
    return report, problem(report, tolerance, strict=strict)


def run_fresh(
    directory: str | Path, images: np.ndarray, runtime: str | None = None, *, nursery: Nursery | None = None
) -> tuple[np.ndarray, dict[str, tuple[int, int]]]:
    """The logits, or logarithms of probabilities, [N, classes] of an artifact, run in a process of its own.

    Args:
        directory: the folder of the artifact.
        images: float32 [N, C, H, W].
        runtime: of its format; None for the format's own.
        nursery: where the process is forked; None starts one.

    Returns:
        Them, and how many kernels compute with integers, as `Runtime.integer_kernels` gives it.

    Raises:
        UserError: it does not run.
    """
    # From a nursery come processes of which several run at a time.
    threads = len(os.sched_getaffinity(0)) if nursery is None else 1
    with tempfile.TemporaryDirectory() as folder:
        names = ("images.npy", "outputs.npy", "kernels.json")
        request = {Path(name).stem: str(Path(folder, name)) for name in names}
        np.save(request["images"], images)
        asked = {**request, "artifact": str(Path(directory).resolve()), "runtime": runtime, "threads": threads}
        io.write_json(Path(folder, "request.json"), asked)
        if nursery is None:
            fresh.run_module(__name__, Path(folder, "request.json"), threads=threads, folder=folder)
        else:
            nursery.run(_answer, asked)
        kernels = {name: (done, count) for name, (done, count) in io.read_json(request["kernels"]).items()}
        return np.load(request["outputs"], allow_pickle=False), kernels


def _answer(request: Mapping[str, Any]) -> None:
    predictor = Predictor(request["artifact"], threads=request["threads"], runtime=request["runtime"])
    images = np.load(request["images"], allow_pickle=False, mmap_mode="r")
    batches = [predictor.logits(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    np.save(request["outputs"], np.concatenate(batches))
    exported = predictor.artifact
    count = formats.get(exported.description.format).runtime(request["runtime"]).integer_kernels
    counted = count(exported.directory) if count is not None and exported.quantized else {}
    io.write_json(request["kernels"], counted)


if __name__ == "__main__":
    _answer(io.read_json(sys.argv[1]))

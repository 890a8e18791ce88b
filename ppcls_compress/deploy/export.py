"""Writes a model as an artifact of any format, compared with the model before it takes its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppcls_compress import io
from ppcls_compress.deploy import artifact, compare, formats, sessions, verify
from ppcls_compress.deploy.kinds import Job, Shared
from ppcls_compress.deploy.network import try_out
from ppcls_compress.deploy.notes import Written
from ppcls_compress.deploy.nursery import Nursery
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.progress import step
from ppcls_compress.errors import UserError, one_line
from ppcls_compress.models.named_outputs import as_deployed
from ppcls_compress.slim import branches
from ppcls_compress.slim.record import empty_record, step_of


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote.

    Attributes:
        artifact: the exported model.
        parity: how far it is from the model; None when it was not compared.
        elsewhere: the same in further runtimes, by their names; one with a problem must not be used.
    """

    artifact: artifact.Artifact
    parity: compare.ParityReport | None
    elsewhere: Mapping[str, verify.Elsewhere] = field(default_factory=dict)


def export(
    model: paddle.nn.Layer,
    directory: str | Path,
    *,
    description: artifact.Description,
    record: Mapping[str, Any] | None = None,
    calibration: Sequence[np.ndarray] | None = None,
    reference: compare.Reference | None = None,
    tolerance: compare.Tolerance | None = None,
    nursery: Nursery | None = None,
    shared: Shared | None = None,
) -> ExportResult:
    """Write `model` to `directory`, with integer weights if it is quantized, branches merged, and a free batch size.

    An artifact that is there already is replaced only when the new one is complete and passed the comparison. Paddle's
    mode and the model are the same after it as before.

    Args:
        model: maps images [N, C, H, W] to logits [N, classes]; of several tensors, in lists or dicts, the one called
            `logits` is exported, or else the first, and a note says so.
        directory: the artifact's own folder; other files and sub-folders in it are left alone.
        description: which format, of what shape, with what beside it; parity, integers and further notes are filled in.
        record: the compression record of the model, `{"version", "steps"}`; None for a dense model.
        calibration: preprocessed images, float32 [N, C, H, W] each, for ranges that training does not learn.
        reference: the model's own answers, to compare with those of the artifact in a fresh process; None leaves the
            comparison out.
        tolerance: of the comparison; None for the default of the format.
        nursery: where that process is forked; None starts one.
        shared: of the exports of this model to several formats, so that what they have in common is made once.

    Raises:
        MissingDependencyError: a package that the format needs is not installed.
        UserError: the folder cannot be written, the model cannot be exported, or the comparison failed.
    """
    kind = formats.get(description.format)
    kind.require()
    told = try_out(model, description.image_shape)
    model, record = branches.merged_copy(model, record or empty_record())
    job = Job(
        model=model,
        image_shape=description.image_shape,
        output=description.output,
        quantization=step_of(record, "quant"),
        calibration=calibration,
        shared=shared or Shared(),
    )

    def write(folder: Path) -> Written:
        with as_deployed(model):
            return kind.write(job, folder)

    told = () if told is None else (told,)
    description = replace(description, notes=(*description.notes, *told))
    explain = None if kind.explain is None or job.quantization is None else partial(kind.explain, job)
    return put(
        directory,
        write,
        description,
        record=record,
        reference=reference,
        tolerance=tolerance,
        nursery=nursery,
        explain=explain,
    )


def put(
    directory: str | Path,
    write: Callable[[Path], Written],
    description: artifact.Description,
    *,
    record: Mapping[str, Any],
    reference: compare.Reference | None = None,
    tolerance: compare.Tolerance | None = None,
    nursery: Nursery | None = None,
    explain: Callable[[Path, np.ndarray], str | None] | None = None,
) -> ExportResult:
    """Put an artifact into its folder, complete and compared, or not at all; the arguments are those of `export`.

    Args:
        write: writes the network files of the format into a folder.
        record: the compression record.
        explain: asked, with the folder and images, which layer explains a comparison that failed.

    Raises:
        UserError: the folder cannot be written, `write` fails, or the comparison failed.
    """
    report, elsewhere = None, {}
    with artifact.staged(directory, formats.get(description.format).files) as staging:
        with step(f"{description.format}: writing"):
            written = write(staging)
        notes, integers = (*description.notes, *written.notes), len(written.quantized)
        description = replace(description, notes=notes, integer_layers=integers)
        if record["steps"]:
            io.write_json(staging / artifact.RECORD, record, indent=None)
        artifact.write_description(staging, description)
        if reference is not None:
            with step(f"{description.format}: comparing on {reference.source}"):
                try:
                    description, report = _settled(reference, staging, description, tolerance, nursery)
                except verify.ParityError as error:
                    raise verify.ParityError(f"{error}{_explained(explain, staging, reference)}") from error
                elsewhere = verify.parity_elsewhere(reference, staging, tolerance=tolerance)
            found = report.plain()
            if elsewhere:
                found[sessions.ELSEWHERE] = {name: item.plain() for name, item in elsewhere.items()}
            artifact.write_description(staging, replace(description, parity=found))
    return ExportResult(artifact.load(directory), report, elsewhere)


def _explained(
    explain: Callable[[Path, np.ndarray], str | None] | None, folder: Path, reference: compare.Reference
) -> str:
    """What a failed comparison is told with besides, as the end of its message."""
    if explain is None or reference.synthetic:
        return ""
    try:
        told = explain(folder, reference.images)
    except Exception as error:  # what cannot be explained is refused all the same
        logger.debug("no explanation: %s", one_line(error))
        return ""
    return "" if told is None else f"; {told}"


def _settled(
    reference: compare.Reference,
    staging: Path,
    description: artifact.Description,
    tolerance: compare.Tolerance | None,
    nursery: Nursery | None,
) -> tuple[artifact.Description, compare.ParityReport]:
    """The description with the first setting of its runtime in which the artifact computes what the model does.

    A runtime's kernels and fusions err for some networks. The bounds are the same in each setting, so that a network
    that was written wrongly fails in all of them.

    Raises:
        UserError: it fails in all of them; of the last, where the runtime adds the least of its own.
    """
    judge = partial(verify.parity, reference, staging, tolerance=tolerance, nursery=nursery)
    try:
        return description, judge()
    except UserError as error:
        usual = failure = error
    for setting in formats.get(description.format).runtime().safer:
        note = f"{setting.note}; as usual, {one_line(usual)}"
        safer = replace(description, setting=setting.name, notes=(*description.notes, note))
        artifact.write_description(staging, safer)
        try:
            return safer, judge()
        except UserError as error:
            failure = error
    raise failure

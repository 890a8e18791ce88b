"""Exports to several formats: which are written, what a failure of one means for the others, what is told of each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import paddle

from ppcls_compress.deploy import artifact, compare, formats, verify
from ppcls_compress.deploy.export import ExportResult, export
from ppcls_compress.deploy.kinds import Format, Shared
from ppcls_compress.deploy.nursery import Nursery
from ppcls_compress.engine import samples
from ppcls_compress.engine.logs import logger
from ppcls_compress.engine.progress import track
from ppcls_compress.errors import NoFormError, UserError
from ppcls_compress.slim.record import Record, step_of


@dataclass(frozen=True)
class Plan:
    """What is exported, and what it is checked and calibrated on.

    Attributes:
        formats: in this order.
        check: images to compare on.
        calibration: images for ranges that training does not learn; None where no format needs them.
        calibrated: names of the formats that need them.
        speed_only: what is arbitrary in it, so that the comparison has no bound and the artifact says so; empty where
            nothing is.
        notes: what the artifacts tell besides.
        setting: of the runtime, as `artifact.Description` has it.
        nursery: where the processes that compare are forked; None starts one for each.
    """

    formats: Sequence[Format]
    check: samples.Samples
    calibration: samples.Samples | None = None
    calibrated: Sequence[str] = ()
    speed_only: str = ""
    notes: tuple[str, ...] = ()
    setting: str = ""
    nursery: Nursery | None = None


def needed(chosen: Sequence[Format], record: Record) -> tuple[list[Format], list[str]]:
    """The formats to write, companions included, and the names of those that need calibration images.

    Args:
        chosen: what was asked for.
        record: of the model.
    """
    step = step_of(record, "quant")
    options = {} if step is None else step.get("options", {})
    learned = options.get("placement") == "deploy"
    companions = {kind.name: () if step is None else kind.companions for kind in chosen}
    if learned and any(companions.values()):
        # It would be another network than the one that was trained, and fail the comparison.
        logger.info(
            "onednn: not written: its program rounds only what layers read; this network was trained to round more"
        )
        companions = {}
    named = {name: None for kind in chosen for name in (kind.name, *companions.get(kind.name, ()))}
    wanted = [kind for name, kind in formats.FORMATS.items() if name in named]
    anew = options.get("activation_quantize_type") == "abs_max"
    unknown = step is not None and not learned
    return wanted, [
        kind.name
        for kind in wanted
        if (unknown and (kind.calibrated or (kind.fixed and anew))) or (step is not None and kind.rounds_more)
    ]


def export_formats(
    model: paddle.nn.Layer,
    record: Record,
    directory: Path,
    plan: Plan,
    description: artifact.Description,
    reference: compare.Reference,
    *,
    agreement: Mapping[str, float],
) -> list[ExportResult]:
    """Write an artifact of each format, and tell what it holds and how far it is from the model.

    A format that fails keeps none of the others from being written. A companion that has no form for this network, or
    none for its grids that comes near enough, is left out; one that lies there from an earlier export goes then, for it
    would be of another network. A companion that fails for any other reason is a failure like that of a format.

    Args:
        directory: of all formats; some have a sub-folder of it.
        description: of the network; format, notes and what is found are filled in.
        reference: the model's own answers.
        agreement: instead of a format's default, by its name.

    Raises:
        UserError: some formats could not be written, or disagree with the model, a line for each; what was there
            before of these is as it was.
    """
    results, failures, shared = [], {}, Shared()
    for kind in track(plan.formats, "exporting"):
        own = replace(description, format=kind.name, notes=_notes(kind, plan), setting=plan.setting)
        try:
            results.append(_export_one(model, record, directory / kind.folder, own, plan, reference, agreement, shared))
        except UserError as error:
            if kind.selectable or not _has_no_form(kind, record, error):
                failures[kind.name] = error
            else:
                logger.warning("%s: not written: %s", kind.name, error)
    _withdraw_companions(directory, {result.artifact.description.format for result in results}, failures)
    for line in artifact.strangers(directory, formats.places(directory)):
        logger.warning("%s", line)
    if failures and results:
        done = ", ".join(f"{item.artifact.description.format} in {item.artifact.directory}" for item in results)
        logger.warning("not written: %s; complete and compared: %s", ", ".join(failures), done)
    _raise(list(failures.values()))
    return results


def each(formats: Sequence[Format], export_one: Callable[[Format], object]) -> None:
    """Export to one format after another; one that fails keeps none of the later ones from being written.

    Raises:
        UserError: some failed, a line for each.
    """
    failures = []
    for kind in formats:
        try:
            export_one(kind)
        except UserError as error:
            logger.warning("%s: not written", kind.name)
            failures.append(error)
    _raise(failures)


def _raise(failures: Sequence[UserError]) -> None:
    if len(failures) > 1:
        lines = dict.fromkeys(map(str, failures))  # what fails before the formats differ, fails alike in each
        raise UserError("\n".join(lines)) from failures[0]
    for error in failures:
        raise error


def _has_no_form(kind: Format, record: Record, error: UserError) -> bool:
    """Whether a companion cannot be what the model is: by its operators, or by grids that its kernels do not know."""
    options = (step_of(record, "quant") or {}).get("options", {})
    free = bool(options.get("asymmetric")) or options.get("depthwise_ranges") == "channel"
    return isinstance(error, NoFormError) or (free and not kind.any_grid and isinstance(error, verify.ParityError))


def _withdraw_companions(directory: Path, written: Collection[str], failed: Collection[str]) -> None:
    """Remove companions that an earlier export left beside formats that are new now and have none any more."""
    known = (*written, *failed)
    for name in (name for leader in written for name in formats.get(leader).companions if name not in known):
        kind = formats.get(name)
        if artifact.withdraw(directory / kind.folder, kind.files):
            logger.warning("%s: removed from %s, for it was of an earlier export", name, directory / kind.folder)


def _notes(kind: Format, plan: Plan) -> tuple[str, ...]:
    if plan.speed_only:
        return (plan.speed_only, *plan.notes)
    if kind.name in plan.calibrated:
        return (f"ranges that training does not learn come from {plan.calibration}", *plan.notes)
    return plan.notes


def _export_one(
    model: paddle.nn.Layer,
    record: Record,
    folder: Path,
    description: artifact.Description,
    plan: Plan,
    reference: compare.Reference,
    agreement: Mapping[str, float],
    shared: Shared,
) -> ExportResult:
    runtime = formats.get(description.format).runtime()
    rounded = step_of(record, "quant") is not None or runtime.rounds(description.setting)
    tolerance = compare.ANY
    if not plan.speed_only:
        wanted = agreement.get(description.format)
        tolerance = verify.default_tolerance(description.format, quantized=rounded, agreement=wanted)
    result = export(
        model,
        folder,
        description=description,
        record=record,
        calibration=plan.calibration.batches if description.format in plan.calibrated else None,
        reference=reference,
        tolerance=tolerance,
        nursery=plan.nursery,
        shared=shared,
    )
    tell(result, warn_loosened=not plan.speed_only)
    return result


def tell(result: ExportResult, *, warn_loosened: bool) -> None:
    """Say what an export wrote, and how far it is from the model."""
    written, report = result.artifact, result.parity
    name = written.description.format
    for note in written.description.notes:
        logger.info("%s: %s", name, note)
    for file, size in written.files.items():
        logger.info("exported: %s, %s bytes", written.directory / file, f"{size:,}")
    logger.info("%s, compared with the model: %s", name, report)
    for runtime, found in result.elsewhere.items():
        _tell_elsewhere(name, runtime, found)
    if report.loosened and warn_loosened:
        logger.warning(
            "%s: the bounds of the comparison were %.2f%% and a mean difference of %.3g%% of the largest logit, the "
            "defaults are %.2f%% and %.3g%%; the artifact records them",
            name,
            *(100 * bound for bound in (report.bound, report.mean_bound)),
            *(100 * bound for bound in (report.default_bound, report.default_mean_bound)),
        )
    _tell_kernels(name, report)


def _tell_elsewhere(name: str, runtime: str, found: verify.Elsewhere) -> None:
    title = formats.get(name).runtime(runtime).title
    where = f"{name} in {title}"
    if found.report is not None:
        logger.info("%s, compared with the model: %s", where, found.report)
        _tell_kernels(where, found.report)
    if found.problem is not None:
        own = formats.get(name).runtime().title
        logger.warning("%s: %s; use this artifact in %s, it is refused in %s", where, found.problem, own, title)


def _tell_kernels(name: str, report: compare.ParityReport) -> None:
    if report.integer_kernels:
        shares = ", ".join(f"{kind} {done} of {count}" for kind, (done, count) in report.integer_kernels.items())
        whole = all(done == count for done, count in report.integer_kernels.values())
        log = logger.info if whole else logger.warning
        rest = "" if whole else "; the others compute in float and gain no speed"
        log("%s: layers on integer kernels: %s%s", name, shares, rest)

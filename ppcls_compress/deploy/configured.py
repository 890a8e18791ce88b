"""Exports what a configuration describes, with the images to check and calibrate on that it names."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import paddle

from ppcls_compress.config.schema import Config
from ppcls_compress.data.datasets.image_list import ImageNetDataset
from ppcls_compress.deploy import artifact, compare, formats, verify
from ppcls_compress.deploy.export import ExportResult, export
from ppcls_compress.deploy.kinds import Format
from ppcls_compress.deploy.network import fingerprint
from ppcls_compress.engine import assemble, samples
from ppcls_compress.engine.context import compression_context
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import NoFormError, UserError
from ppcls_compress.postprocess.base import NONE
from ppcls_compress.slim import prune, recipe
from ppcls_compress.slim.options import SlimOptions

CALIBRATION_IMAGES = 256
RANDOM_IMAGES = 64
"""The most random images that are compared on: noise does not get more telling."""


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
    """

    formats: Sequence[Format]
    check: samples.Samples
    calibration: samples.Samples | None = None
    calibrated: Sequence[str] = ()
    speed_only: str = ""


def plan(config: Config, chosen: Sequence[Format], record: recipe.Record, *, speed_only: bool) -> Plan:
    """What exporting to the chosen formats takes.

    Images to compare on are validation images, else training images, else random ones; images to calibrate on are
    training images, else validation images; they are read only if a format needs some.

    Raises:
        UserError: there are no calibration images, or some cannot be read.
    """
    step = recipe.step_of(record, "quant")
    quantized = step is not None
    options = step.get("options", {}) if quantized else {}
    learned = options.get("placement") == "deploy"
    companions = {kind.name: kind.companions if quantized else () for kind in chosen}
    if learned and any(companions.values()):
        # It would be another network than the one that was trained, and fail the comparison.
        logger.info(
            "onednn: not written: its program rounds only what layers read; this network was trained to round more"
        )
        companions = {}
    named = {name: None for kind in chosen for name in (kind.name, *companions.get(kind.name, ()))}
    wanted = [kind for name, kind in formats.FORMATS.items() if name in named]
    count = config.Global.export_check_images
    anew = options.get("activation_quantize_type") == "abs_max"
    unknown = quantized and not learned
    needing = [kind.name for kind in wanted if unknown and (kind.calibrated or (kind.fixed and anew))]
    if speed_only:
        images = samples.random(config, min(count, RANDOM_IMAGES))
        return Plan(wanted, images, images, needing, speed_only=_speed_only(config, quantized=quantized))
    check = samples.from_split(config, ("Eval", "Train"), count)
    if check is None:
        check = samples.random(config, min(count, RANDOM_IMAGES))
    if not needing:
        return Plan(wanted, check)
    calibration = samples.from_split(config, ("Train", "Eval"), CALIBRATION_IMAGES)
    if calibration is None:
        raise UserError(
            f"{needing[0]}: needs calibration images, for it rounds tensors whose range training does not learn; "
            "DataLoader.Train and DataLoader.Eval name none that exist. To measure speed only, add "
            "--synthetic-calibration"
        )
    return Plan(wanted, check, calibration, needing)


def _speed_only(config: Config, *, quantized: bool) -> str:
    arbitrary = ["weights are random"] if assemble.starts_fresh(config) else []
    if quantized:
        arbitrary.append("ranges come from random images")
    what = f"{' and '.join(arbitrary)}, its answers mean nothing" if arbitrary else "not checked on real images"
    return f"--synthetic-calibration: for measuring speed only; {what}"


def export_all(
    config: Config,
    model: paddle.nn.Layer,
    record: recipe.Record,
    directory: Path,
    plan: Plan,
    *,
    class_names: Sequence[str] | None = None,
) -> list[ExportResult]:
    """Write an artifact of each format, and tell what it holds and how far it is from the model.

    A format that fails keeps none of the others from being written. A companion that has no form for this network, or
    none for its grids that comes near enough, is left out; one that lies there from an earlier export goes then, for it
    would be of another network. A companion that fails for any other reason is a failure like that of a format.

    Args:
        directory: of all formats; some have a sub-folder of it.
        class_names: by class index.

    Raises:
        UserError: some formats could not be written, or disagree with the model, a line for each; what was there
            before of these is as it was.
    """
    counted = assemble.cost_of(config, record)
    description = artifact.Description(
        image_shape=config.Global.image_shape,
        output=_output(config),
        preprocess=config.Infer.transforms if config.Infer else (),
        class_names=None if class_names is None else tuple(class_names),
        post_process=config.post_process,
        model_name=config.Arch.name,
        params=counted.params,
        flops=counted.flops,
        network=fingerprint(model),
        source=source_of(config),
        validation=_validation(config),
        speed_only=bool(plan.speed_only),
    )
    if not description.preprocess:
        logger.warning("Infer.transforms: not given, so the artifact will not know how to prepare an image")
    if plan.speed_only:
        logger.warning("%s", plan.speed_only)
    check = plan.check
    reference = verify.reference(
        model,
        check.images,
        check.labels if config.Global.eval_mode == "classification" and not config.Arch.gives_features else None,
        kind=_kind(config),
        source=check.source,
        synthetic=check.labels is None,
    )
    results, failures = [], {}
    for kind in plan.formats:
        own = replace(description, format=kind.name, notes=_notes(kind, plan))
        try:
            results.append(_export_one(config, model, record, directory / kind.folder, own, plan, reference))
        except UserError as error:
            if kind.selectable or not _has_no_form(kind, record, error):
                failures[kind.name] = error
            else:
                logger.warning("%s: not written: %s", kind.name, error)
    _withdraw_companions(directory, {result.artifact.description.format for result in results}, failures)
    for line in artifact.strangers(directory, formats.places(directory)):
        logger.warning("%s", line)
    if len(failures) > 1:
        lines = dict.fromkeys(map(str, failures.values()))  # what fails before the formats differ, fails alike in each
        raise UserError("\n".join(lines)) from next(iter(failures.values()))
    for error in failures.values():
        raise error
    return results


def _validation(config: Config) -> dict[str, str]:
    """Where the validation images are, as `artifact.Description` has it."""
    dataset = config.DataLoader.Eval.dataset if config.DataLoader.Eval is not None else None
    if type(dataset) is not ImageNetDataset or dataset.relabel or dataset.delimiter is not None:
        return {}
    return {"image_root": dataset.image_root, "cls_label_path": dataset.cls_label_path}


def _kind(config: Config) -> str:
    """What is told of an image, as `compare.Reference` calls it."""
    if config.Arch.gives_features:
        return "features"
    return "labels" if config.Global.use_multilabel else "classes"


def _output(config: Config) -> str:
    """What an exported network gives, as `artifact.Description` calls it."""
    if config.Arch.gives_features:
        return "features"
    if config.Global.use_multilabel:
        return "label_probabilities"
    grades = config.Infer is not None and config.Infer.PostProcess.scores == NONE
    return "probabilities" if config.Arch.infer_add_softmax and not grades else "logits"


def _has_no_form(kind: Format, record: recipe.Record, error: UserError) -> bool:
    """Whether a companion cannot be what the model is: by its operators, or by grids that its kernels do not know."""
    options = (recipe.step_of(record, "quant") or {}).get("options", {})
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
        return (plan.speed_only,)
    if kind.name in plan.calibrated:
        return (f"ranges that training does not learn come from {plan.calibration}",)
    return ()


def _export_one(
    config: Config,
    model: paddle.nn.Layer,
    record: recipe.Record,
    folder: Path,
    description: artifact.Description,
    plan: Plan,
    reference: verify.Reference,
) -> ExportResult:
    quantized = recipe.step_of(record, "quant") is not None
    tolerance = compare.ANY
    if not plan.speed_only:
        configured = config.Global.export_agreement.get(description.format)
        tolerance = verify.default_tolerance(description.format, quantized=quantized, agreement=configured)
    result = export(
        model,
        folder,
        description=description,
        record=record,
        calibration=plan.calibration.batches if description.format in plan.calibrated else None,
        reference=reference,
        tolerance=tolerance,
    )
    _tell(result, speed_only=bool(plan.speed_only))
    return result


def _tell(result: ExportResult, *, speed_only: bool) -> None:
    written, report = result.artifact, result.parity
    name = written.description.format
    for note in written.description.notes:
        logger.info("%s: %s", name, note)
    for file, size in written.files.items():
        logger.info("exported: %s, %s bytes", written.directory / file, f"{size:,}")
    logger.info("%s, compared with the model: %s", name, report)
    for runtime, found in result.elsewhere.items():
        _tell_elsewhere(name, runtime, found)
    if report.loosened and not speed_only:
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


def source_of(config: Config) -> str:
    """The weights that a configuration exports, as the user named them; empty for random ones."""
    return str(assemble.weights_prefix(config, download=False) or "")


def fresh_model(config: Config) -> tuple[paddle.nn.Layer, recipe.Record]:
    """The configured model on random images throughout: its size and speed are right, its answers are not.

    Weights are loaded where `Global.pretrained_model` or `Arch.pretrained` name local ones; nothing is downloaded.

    Raises:
        UserError: the weights do not fit, or the `Slim` section cannot be carried out.
    """
    from ppcls_compress import data

    loader = data.synthetic_loader(
        config.Global.image_shape,
        class_num=config.Arch.class_num,
        batch_size=4,
        steps=4,
        seed=config.Global.seed,
        dataset=config.DataLoader.Train.dataset if config.DataLoader.Train else None,
    )
    context = compression_context(config, lambda: loader, latency=latency_of(config))
    if assemble.weights_prefix(config, download=False) is not None:
        return assemble.build_model(config, context=context, download=False, reinit_head=True)
    model = assemble.build_dense(config)
    prune.recalibrate(model, (images for images, _ in loader))  # or signals die away, and with them the speed
    slim = config.Slim.options if config.Slim else SlimOptions()
    return recipe.compress(model, slim, [[1, *config.Global.image_shape]], context=context)


def latency_of(config: Config) -> Callable[[paddle.nn.Layer], float]:
    """A function that exports a network to a temporary folder and gives its milliseconds for one image, one thread."""

    def measure(model: paddle.nn.Layer) -> float:
        from ppcls_compress.deploy.measure import latency

        with tempfile.TemporaryDirectory() as folder:
            export(model, folder, description=artifact.Description(config.Global.image_shape))
            return latency.measure({"network": folder}, [1, *config.Global.image_shape])["network"].median_ms

    return measure

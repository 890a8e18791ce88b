"""`export_model`: artifacts that run without this toolkit, compared with the model before they take their place."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls_compress import machine
from ppcls_compress.commands.common import add_config_arguments, load_paddle, read_config, trained_weights
from ppcls_compress.commands.ending import add_report_argument, leave_page
from ppcls_compress.config.schema import Config
from ppcls_compress.declare.paths import check_path
from ppcls_compress.deploy import formats
from ppcls_compress.deploy.kinds import BFLOAT16, Format
from ppcls_compress.errors import ConfigError
from ppcls_compress.postprocess import names

if TYPE_CHECKING:
    from ppcls_compress.deploy.artifact import Artifact
    from ppcls_compress.deploy.export import ExportResult
    from ppcls_compress.deploy.several import Plan
    from ppcls_compress.deploy.tuning import Tuned
    from ppcls_compress.report.page.write import Page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `export_model`."""
    add_config_arguments(parser)
    names = [kind.name for kind in formats.FORMATS.values() if kind.selectable]
    parser.add_argument(
        "--format",
        nargs="+",
        default=["paddle"],
        metavar="FORMAT",
        help=f"one or more of {', '.join(names)}, or all, which are those that run here (default: paddle)",
    )
    parser.add_argument(
        "--synthetic-calibration",
        action="store_true",
        help="export without data or weights, on random images: for measuring speed only",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the export of another network, or files of another program, in the same folder",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="also tell what kept operators of an ONNX graph from being fused"
    )
    parser.add_argument(
        "--tune",
        nargs="?",
        type=int,
        const=1,
        metavar="BATCH",
        help="time layers and files here, so many images at a time (default: 1), and let those compute in float that "
        "are slower with integers (onnx formats)",
    )
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        help="with --tune: let what is not in integers compute in bfloat16 where that is faster and near enough to the "
        "model (onnx-openvino)",
    )
    add_report_argument(parser)
    parser.add_argument(
        "--profile", metavar="FILE", help="with --tune: for the machine where ppcls-compress profile wrote this file"
    )


def run(args: argparse.Namespace) -> None:
    """Export `Global.pretrained_model`, or what the configuration's own run left, to `Global.save_inference_dir`.

    Raises:
        MissingDependencyError: a package that a format needs is not installed.
        UserError: the configuration cannot be used, the folder holds the export of another network or files of another
            program, or an artifact does not agree with the model.
    """
    chosen = formats.chosen(args.format)
    config = read_config(args)
    config, told = (config, "") if args.synthetic_calibration else trained_weights(args, config)
    for kind in chosen:
        kind.require()
    _check_tune(args, chosen)
    load_paddle()
    from ppcls_compress.deploy import artifact, configured
    from ppcls_compress.deploy.replacing import check_all_replaceable
    from ppcls_compress.engine import assemble
    from ppcls_compress.engine.doubts.preparation import about_inference
    from ppcls_compress.engine.logs import logger, logging_to

    directory = Path(config.Global.save_inference_dir)
    with logging_to(verbose=args.verbose):
        if told:
            logger.info("%s", told)
        assemble.start(config)
        source = configured.source_of(config)
        if not args.overwrite:
            check_all_replaceable(directory, chosen, source)
        for kind in chosen:
            artifact.check_writable(directory / kind.folder)
        if config.Slim and config.Slim.auto:
            logger.warning(
                "Slim.auto has no effect on an export: ppcls-compress compress searches, and exports what it finds"
            )
        for line in about_inference(config):
            logger.warning("%s", line)
        class_names = _class_names(config, optional=args.synthetic_calibration)
        build = configured.fresh_model if args.synthetic_calibration else assemble.build_model
        model, record = build(config)
        plan = configured.plan(config, chosen, record, speed_only=args.synthetic_calibration)
        if args.tune is None:
            done = configured.export_all(config, model, record, directory, plan, class_names=class_names)
        else:
            done = _tuned(args, config, (model, record), plan, class_names)
        leave_page(args, directory, lambda: _page(args, config, [result.artifact for result in done]))


def _tuned(
    args: argparse.Namespace, config: Config, network: tuple, plan: Plan, class_names: Sequence[str] | None
) -> list[ExportResult]:
    """Each format of a network (model, record) with the placement that is fastest here.

    Raises:
        UserError: some failed, a line for each.
    """
    from ppcls_compress.deploy import configured, tuning
    from ppcls_compress.deploy.several import each
    from ppcls_compress.deploy.verify import ParityError
    from ppcls_compress.engine.logs import logger

    directory, done = Path(config.Global.save_inference_dir), []
    profile = Path(args.profile) if args.profile else None

    def tuned(kind: Format) -> None:
        one = replace(plan, formats=[kind])
        found = tuning.tune(config, network, kind, one, profile, batch=args.tune, bfloat16=args.bfloat16)
        try:
            write(found, one)
        except ParityError as error:
            if found.exact is None:
                raise
            logger.warning("%s: bfloat16 is too coarse for it, and float32 stays: %s", kind.name, error)
            write(found.exact, one)

    def write(found: Tuned, one: Plan) -> None:
        one = replace(one, notes=found.notes, setting=found.setting)
        done.extend(configured.export_all(config, found.model, found.record, directory, one, class_names=class_names))

    each(formats.chosen(args.format), tuned)
    return done


def _page(args: argparse.Namespace, config: Config, exported: Sequence[Artifact]) -> Page:
    from ppcls_compress.report.page import runs
    from ppcls_compress.report.page.write import Page

    return Page([runs.of(config.Arch.name, Path(config.Global.save_inference_dir), exported)], [args.typed])


_TUNED = ("onnx-ort", "onnx-openvino")
"""Formats that are for the machines that time them; what is for TensorRT is not."""


def _check_tune(args: argparse.Namespace, chosen: Sequence[Format]) -> None:
    if args.tune is not None and args.tune < 1:
        raise ConfigError(f"--tune: expected how many images a batch has, from 1, found {args.tune}")
    if args.profile:
        check_path("--profile", args.profile, "file")
        if args.tune is None:
            raise ConfigError("--profile: is for --tune, which chooses by it")
    if args.bfloat16 and args.tune is None:
        raise ConfigError("--bfloat16: is for --tune, which chooses by times whether it is used")
    for kind in chosen:
        if args.tune is not None and kind.name not in _TUNED:
            raise ConfigError(f"--tune: places the layers of {' and '.join(_TUNED)}, not of {kind.name}")
        if args.bfloat16:
            _check_bfloat16(kind, elsewhere=args.profile is not None)


def _check_bfloat16(kind: Format, *, elsewhere: bool) -> None:
    """Refuse bfloat16 where it is not to be had.

    Args:
        elsewhere: whether another machine is tuned for.
    """
    runtime = kind.runtime()
    if not runtime.rounds(BFLOAT16):
        raise ConfigError(
            f"--bfloat16: {runtime.title} has no kernels in bfloat16 for processors; {kind.name} goes without it, "
            "onnx-openvino may have it"
        )
    if elsewhere:
        raise ConfigError("--bfloat16: a profile has no times in bfloat16; leave --profile out, or this")
    if not machine.has_bfloat16():
        raise ConfigError(
            f"--bfloat16: this processor, {machine.cpu_name()}, has none of {', '.join(machine.BFLOAT16)}; leave it out"
        )


def _class_names(config: Config, *, optional: bool) -> list[str] | None:
    from ppcls_compress.engine import assemble
    from ppcls_compress.engine.logs import logger

    path = config.Infer.PostProcess.names_file if config.Infer else None
    if optional and path and not names.find(path).exists():
        logger.info("Infer.PostProcess.class_id_map_file: %s does not exist; the artifact has no class names", path)
        return None
    return assemble.class_names(config)

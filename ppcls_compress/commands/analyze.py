"""`analyze`: what quantization does to each layer, why, and what helps."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls_compress.commands import source_free_analysis
from ppcls_compress.commands.common import add_config_arguments, load_paddle, read_config, require_weights
from ppcls_compress.config.paths import check_loader
from ppcls_compress.config.runs import beside_own, run_folder
from ppcls_compress.errors import ConfigError

if TYPE_CHECKING:
    from ppcls_compress.config.schema import Config
    from ppcls_compress.deploy.artifact import Artifact
    from ppcls_compress.engine.analysis_run import Study

_IMAGES, _LOOKED_AT = 256, 64
"""Images that are looked at, and that an exported file is looked into with."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `analyze`."""
    add_config_arguments(parser, required=False)
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="default: <output_dir>/<Arch.name>/analysis, or output/analysis/<name of the model>",
    )
    parser.add_argument(
        "--artifact", metavar="DIR", help="an onnx-ort or onnx-openvino folder of these weights, to be looked into too"
    )
    parser.add_argument(
        "--images",
        metavar="N",
        help="images to look at (default: 256); with --model, a folder or list of images to calibrate on",
    )
    source_free_analysis.add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Analyze the weights `Global.pretrained_model`; a run that was stopped goes on where it was.

    With `--model` it is an exported model instead; see `source_free_analysis`.

    Raises:
        UserError: the configuration or what it points at cannot be used.
    """
    if source_free_analysis.is_asked(args):
        source_free_analysis.run(args)
        return
    config, images = read_config(args), _number(args.images)
    if not (config.Slim and config.Slim.quant):
        raise ConfigError("Slim.quant: this section says what is analyzed, such as -o 'Slim.quant={name: ptq}'")
    check_loader(config, "Train")
    require_weights(config)
    load_paddle()
    from ppcls_compress import io
    from ppcls_compress.deploy.network import fingerprint
    from ppcls_compress.engine import analysis_run, assemble
    from ppcls_compress.engine.logs import logger, logging_to
    from ppcls_compress.report import noise

    folder = io.make_folder(args.out or run_folder(config) / "analysis")
    with logging_to():
        if told := beside_own(config):
            logger.info("%s", told)
        exported = source_free_analysis.looked_into(args)
        assemble.start(config)
        study = analysis_run.study(config, folder / "analysis.json", images=images, identify=fingerprint)
        noise.write(study.rows, folder)
        if exported is not None:
            _look_into(exported, config, study, folder)


def _number(images: str | None) -> int:
    """How many images are looked at."""
    if images is None:
        return _IMAGES
    if not images.isdecimal() or int(images) < 1:
        raise ConfigError(f"--images: expected 1 or more, found {images}")
    return int(images)


def _look_into(exported: Artifact, config: Config, study: Study, folder: Path) -> None:
    """Compare an exported file with the network, and write what each layer reads in both."""
    from ppcls_compress.deploy.onnx.files import MODEL
    from ppcls_compress.deploy.onnx.inspection import inspect
    from ppcls_compress.engine.analysis_run import prepared_by
    from ppcls_compress.report import noise

    images = study.images.images[:_LOOKED_AT]
    ops, given = exported.description.preprocess, None
    if ops and config.DataLoader.Eval is not None:
        given = prepared_by(config, ops, len(study.images.images))
    seen = inspect(exported.directory / MODEL, study.model, images, None if given is None else given[:_LOOKED_AT])
    noise.write_inspection(seen, folder)

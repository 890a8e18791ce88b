"""`analyze`: what quantization does to each layer, why, and what helps."""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls_compress.commands.common import add_config_arguments, read_config, require_weights
from ppcls_compress.config.paths import check_loader
from ppcls_compress.errors import ConfigError

if TYPE_CHECKING:
    from ppcls_compress.config.schema import Config
    from ppcls_compress.engine.analysis_run import Study

_LOOKED_AT = 64
"""Images that an exported file is looked into with."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `analyze`."""
    add_config_arguments(parser)
    parser.add_argument("--out", metavar="DIR", help="default: <output_dir>/<Arch.name>/analysis")
    parser.add_argument(
        "--artifact", metavar="DIR", help="an onnx-ort or onnx-openvino folder of these weights, to be looked into too"
    )
    parser.add_argument("--images", type=int, default=256, metavar="N", help="images to look at (default: 256)")


def run(args: argparse.Namespace) -> None:
    """Analyze the weights `Global.pretrained_model`; a run that was stopped goes on where it was.

    Raises:
        UserError: the configuration or what it points at cannot be used.
    """
    config = read_config(args)
    if not (config.Slim and config.Slim.quant):
        raise ConfigError("Slim.quant: this section says what is analyzed, such as -o 'Slim.quant={name: ptq}'")
    if args.images < 1:
        raise ConfigError(f"--images: expected 1 or more, found {args.images}")
    check_loader(config, "Train")
    require_weights(config)
    from ppcls_compress import io
    from ppcls_compress.deploy.network import fingerprint
    from ppcls_compress.engine import analysis_run, assemble
    from ppcls_compress.engine.logs import logging_to
    from ppcls_compress.engine.train import run_folder
    from ppcls_compress.report import noise

    folder = io.make_folder(args.out or run_folder(config) / "analysis")
    with logging_to():
        assemble.start(config)
        study = analysis_run.study(config, folder / "analysis.json", images=args.images, identify=fingerprint)
        analysis_run.suggest(study.rows, folder / "suggested.yaml")
        if importlib.util.find_spec("matplotlib") is not None:
            noise.plot(study.rows, folder / "analysis.png")
        if args.artifact:
            _look_into(args.artifact, config, study, folder)


def _look_into(directory: str, config: Config, study: Study, folder: Path) -> None:
    """Compare an exported file with the network, and write what each layer reads in both."""
    from ppcls_compress import io
    from ppcls_compress.deploy import artifact
    from ppcls_compress.deploy.onnx.files import MODEL
    from ppcls_compress.engine.analysis_run import prepared_by
    from ppcls_compress.engine.logs import logger

    found = artifact.load(directory)
    if MODEL not in found.files:
        raise ConfigError(f"--artifact: {directory} holds no {MODEL}; give an onnx-ort or onnx-openvino folder")
    from ppcls_compress.deploy.onnx.inspection import inspect

    images = study.images.images[:_LOOKED_AT]
    ops, given = found.description.preprocess, None
    if ops and config.DataLoader.Eval is not None:
        given = prepared_by(config, ops, len(study.images.images))
    seen = inspect(found.directory / MODEL, study.model, images, None if given is None else given[:_LOOKED_AT])
    io.write_json(folder / "artifact.json", asdict(seen))
    for tensor in seen.tensors:
        logger.info(
            "%s reads: fake-quantized %.1f dB of float, the file %.1f dB of fake-quantized, %.1f of float",
            *(tensor.layer, tensor.rounded, tensor.file, tensor.both),
        )
    logger.info("the first layer that goes astray in the file: %s", seen.astray or "none")
    for layer, cause in seen.faults.items():
        logger.warning("%s: %s: %s (%s)", layer, cause.kind, cause.found, cause.help)

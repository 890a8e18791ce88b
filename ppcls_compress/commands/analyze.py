"""`analyze`: what quantization does to each layer, why, and what helps."""

from __future__ import annotations

import argparse

from ppcls_compress.commands.common import add_config_arguments, read_config, require_weights
from ppcls_compress.config.paths import check_loader
from ppcls_compress.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `analyze`."""
    add_config_arguments(parser)
    parser.add_argument("--out", metavar="DIR", help="default: <output_dir>/<Arch.name>/analysis")
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

    folder = io.make_folder(args.out or run_folder(config) / "analysis")
    with logging_to():
        assemble.start(config)
        rows = analysis_run.study(config, folder / "analysis.json", images=args.images, identify=fingerprint)
        analysis_run.suggest(rows, folder / "suggested.yaml")

"""`profile`: how long the layers of a network take on this machine, for searches and exports here or elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path

from ppcls_compress.commands.common import add_config_arguments, check_output_file, load_paddle, read_config
from ppcls_compress.config.auto import place
from ppcls_compress.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `profile`."""
    add_config_arguments(parser)
    parser.add_argument(
        "--runtime", default="onnx-ort", metavar="NAME", help="FORMAT, FORMAT@RUNTIME or RUNTIME (default: onnx-ort)"
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images at a time (default: 1)")
    parser.add_argument("--out", default="profile.json", metavar="FILE", help="default: profile.json")


def run(args: argparse.Namespace) -> None:
    """Time single layers of the configured network, and compare their sums with whole files of it.

    Raises:
        UserError: the configuration cannot be used, or single layers are not timed in this runtime.
    """
    try:
        name, runtime = place(args.runtime)
    except ValueError as error:
        raise ConfigError(f"--runtime: {error}") from error
    if args.batch < 1:
        raise ConfigError(f"--batch: expected 1 or more, found {args.batch}")
    config, out = read_config(args), Path(args.out)
    check_output_file("--out", out)
    load_paddle()
    from ppcls_compress.deploy import formats, profiling
    from ppcls_compress.engine import assemble
    from ppcls_compress.engine.logs import logger, logging_to

    kind = formats.get(name)
    kind.require()
    kind.runtime(runtime).require()
    with logging_to():
        assemble.start(config)
        table = profiling.profile(config, kind, runtime, batch=args.batch)
        table.save(out)
        logger.info("written: %s", out)

"""`summary`: a network layer by layer, as its weights say that it was compressed."""

from __future__ import annotations

import argparse

from ppcls_compress.commands.common import (
    add_config_arguments,
    check_output_file,
    load_paddle,
    read_config,
    trained_weights,
)
from ppcls_compress.config.paths import check_weights
from ppcls_compress.config.runs import own_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `summary`."""
    add_config_arguments(parser)
    parser.add_argument("--json", metavar="FILE", help="write the layers to this file too")


def run(args: argparse.Namespace) -> None:
    """Print shapes, parameters, multiply-adds and quantization of each layer.

    The structure is that of the weights that `eval` takes; where there are none yet, the dense one.

    Raises:
        UserError: the configuration or the weights cannot be used.
    """
    check_output_file("--json", args.json)
    config, told = read_config(args), ""
    if own_weights(config) is None:
        check_weights(config)
    else:
        config, told = trained_weights(args, config)
    load_paddle()
    from ppcls_compress import io
    from ppcls_compress.engine import assemble
    from ppcls_compress.engine.logs import logger, logging_to
    from ppcls_compress.report import layers
    from ppcls_compress.slim import recipe
    from ppcls_compress.slim.options import SlimOptions

    with logging_to():
        if told:
            logger.info(told)
        assemble.start(config)
        record = assemble.recorded(config)
        for kind in recipe.pending(config.Slim.options if config.Slim else SlimOptions(), record):
            logger.warning("Slim.%s: is not done yet; the table is of the network before it", kind)
        model = recipe.rebuild(assemble.build_dense(config), recipe.resized(record))
        found = layers.layers_of(model, [[1, *config.Global.image_shape]], record)
    layers.show(found)
    if args.json:
        io.write_json(args.json, found.plain())

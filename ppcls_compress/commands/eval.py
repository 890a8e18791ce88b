"""`eval`: the metrics of a checkpoint on the validation set."""

from __future__ import annotations

import argparse

from ppcls_compress.commands.common import add_config_arguments, read_config, require_weights
from ppcls_compress.config.paths import check_loader


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `eval`."""
    add_config_arguments(parser)
    parser.add_argument("--json", metavar="FILE", help="write the metrics, as fractions, to this file too")


def run(args: argparse.Namespace) -> None:
    """Evaluate `Global.pretrained_model` on `DataLoader.Eval`.

    Raises:
        UserError: the configuration or what it points at cannot be used.
    """
    config = read_config(args)
    check_loader(config, "Eval")
    require_weights(config)
    from ppcls_compress import io
    from ppcls_compress.data import dead_workers_told
    from ppcls_compress.engine import assemble, distributed
    from ppcls_compress.engine.hooks.evaluation import describe
    from ppcls_compress.engine.logs import logger, logging_to
    from ppcls_compress.engine.train import evaluator

    with logging_to(main=distributed.is_main()):
        assemble.start(config)
        distributed.start()
        model, _ = assemble.build_model(config)
        with dead_workers_told():
            metrics = evaluator(config, model)()
        logger.info("evaluation: %s", describe(metrics))
        if args.json and distributed.is_main():
            io.write_json(args.json, metrics)

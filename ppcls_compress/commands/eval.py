"""`eval`: the metrics of a checkpoint, or of an exported model, on the validation set."""

from __future__ import annotations

import argparse

from ppcls_compress.commands.common import (
    add_config_arguments,
    add_runtime_argument,
    check_runtime,
    read_config,
    require_weights,
)
from ppcls_compress.config.paths import check_loader
from ppcls_compress.declare.paths import check_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `eval`."""
    add_config_arguments(parser)
    parser.add_argument("--json", metavar="FILE", help="write the metrics, as fractions, to this file too")
    parser.add_argument("--artifact", metavar="DIR", help="evaluate this exported model instead of a checkpoint")
    add_runtime_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluate `Global.pretrained_model`, or an artifact of any format, on `DataLoader.Eval`.

    Raises:
        UserError: the configuration or what it points at cannot be used.
    """
    config = read_config(args)
    check_loader(config, "Eval")
    check_runtime(args)
    if args.artifact:
        check_path("--artifact", args.artifact, "folder")
    else:
        require_weights(config)
    from ppcls_compress import io
    from ppcls_compress.data import dead_workers_told
    from ppcls_compress.engine import assemble, distributed, doubts
    from ppcls_compress.engine.doubts.preparation import about_artifact
    from ppcls_compress.engine.hooks.evaluation import describe
    from ppcls_compress.engine.logs import logger, logging_to
    from ppcls_compress.engine.train import evaluate_exported, evaluator, judged_images

    with logging_to(main=distributed.is_main()):
        assemble.start(config)
        distributed.start()
        told = list(doubts.of_evaluation(config, judged_images(config)))
        with dead_workers_told():
            if args.artifact:
                from ppcls_compress.deploy.predictor import Predictor

                predictor = Predictor(args.artifact, runtime=args.runtime)
                description = predictor.artifact.description
                told = [*told, *about_artifact(config, description.preprocess, args.artifact)]
                classes = config.Global.eval_mode == "classification"
                predict = predictor.logits if classes else predictor.run
                metrics = evaluate_exported(config, predict, description.image_shape, args.artifact)
            else:
                metrics = evaluator(config, assemble.build_model(config)[0])()
        for line in told if distributed.is_main() else ():
            logger.warning("%s", line)
        logger.info("evaluation: %s", describe(metrics))
        if args.json and distributed.is_main():
            io.write_json(args.json, metrics)

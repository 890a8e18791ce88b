"""`eval`: the metrics of a checkpoint, or of an exported model, on the validation set."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ppcls_compress.commands.common import (
    add_config_arguments,
    add_runtime_argument,
    check_output_file,
    check_runtime,
    load_paddle,
    read_config,
    refuse_overrides,
    trained_weights,
)
from ppcls_compress.config.paths import check_loader
from ppcls_compress.config.schema import Config
from ppcls_compress.declare.paths import check_path
from ppcls_compress.errors import ConfigError, UserError

if TYPE_CHECKING:
    from ppcls_compress.deploy.predictor import Predictor
    from ppcls_compress.metrics import Metrics
    from ppcls_compress.metrics.confusion import WithConfusion


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `eval`."""
    add_config_arguments(parser, required=False)
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write the metrics, as fractions, the accuracy of each class and the confusion matrix to this file too",
    )
    parser.add_argument("--artifact", metavar="DIR", help="evaluate this exported model instead of a checkpoint")
    parser.add_argument(
        "--images", metavar="DIR", help="with --artifact and without -c: a folder of images with val_list.txt"
    )
    add_runtime_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluate `Global.pretrained_model`, or an artifact of any format, on `DataLoader.Eval`.

    Where no weights are named, it is what the configuration's own run left.
    An artifact without a configuration is evaluated on the validation images that it names, or on `--images`.

    Raises:
        UserError: the configuration or what it points at cannot be used.
    """
    check_runtime(args)
    check_output_file("--json", args.json)
    config = None if args.artifact and args.config is None else read_config(args)
    if config is None:
        refuse_overrides(args)
    elif args.images:
        raise ConfigError("--images: with -c, DataLoader.Eval says what is evaluated; leave one of them out")
    if args.artifact:
        check_path("--artifact", args.artifact, "folder")
    of_weights = ""
    if config is not None:
        check_loader(config, "Eval")
        if not args.artifact:
            config, of_weights = trained_weights(args, config)
    load_paddle()
    from ppcls_compress import io
    from ppcls_compress.engine import assemble, distributed, doubts
    from ppcls_compress.engine.hooks.evaluation import describe
    from ppcls_compress.engine.logs import logger, logging_to
    from ppcls_compress.engine.measured import evaluator, judged_images

    with logging_to(main=distributed.is_main()):
        if of_weights:
            logger.info("%s", of_weights)
        predictor = None
        if args.artifact:
            from ppcls_compress.deploy.predictor import Predictor

            predictor = Predictor(args.artifact, runtime=args.runtime)
            config = config or _config_of(predictor, args.images)
        assemble.start(config)
        distributed.start()
        told = list(doubts.of_evaluation(config, judged_images(config)))
        watched = _watched(config)
        if predictor is not None:
            told += _doubts(config, predictor)
            metrics = _of_artifact(config, predictor, watched)
        else:
            metrics = evaluator(config, assemble.build_model(config)[0], metrics=watched)()
        for line in told if distributed.is_main() else ():
            logger.warning("%s", line)
        logger.info("evaluation: %s", describe(metrics))
        if args.json and distributed.is_main():
            classes = {} if watched is None else watched.report(_names(config, predictor))
            io.write_json(args.json, {**metrics, **classes}, indent=1 if config.Arch.class_num <= _FEW else None)


def _config_of(predictor: Predictor, images: str | None) -> Config:
    """The configuration that an artifact stands for; how many classes it tells apart, a run of it says."""
    import numpy as np

    from ppcls_compress.commands.exported import config_of

    shape = predictor.artifact.description.image_shape
    return config_of(predictor.artifact, predictor.run(np.zeros((1, *shape), np.float32)).shape[1], images)


_FEW = 50
"""Classes of a matrix that is written with a number in each line."""


def _watched(config: Config) -> WithConfusion | None:
    """The metrics with the answers of each class beside, where an image has one."""
    from ppcls_compress.metrics.confusion import WithConfusion

    single = config.Global.eval_mode == "classification" and not config.Global.use_multilabel
    return WithConfusion(config.Metric.Eval) if single and not config.Arch.gives_features else None


def _names(config: Config, predictor: Predictor | None) -> Sequence[str] | None:
    """The names of classes, where they are known."""
    from ppcls_compress.engine import assemble

    if predictor is not None and predictor.artifact.description.class_names is not None:
        return predictor.artifact.description.class_names
    try:
        return assemble.class_names(config)
    except UserError:  # a score does not need them
        return None


def _doubts(config: Config, predictor: Predictor) -> list[str]:
    from ppcls_compress.engine.doubts.preparation import about_artifact

    exported = predictor.artifact
    return list(about_artifact(config, exported.description.preprocess, str(exported.directory)))


def _of_artifact(config: Config, predictor: Predictor, metrics: Metrics | None) -> dict[str, float]:
    from ppcls_compress.engine.exported import evaluate_exported

    predict = predictor.logits if config.Global.eval_mode == "classification" else predictor.run
    exported = predictor.artifact
    shape = exported.description.image_shape
    return evaluate_exported(config, predict, shape, exported.directory, metrics=metrics)

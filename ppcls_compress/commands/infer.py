"""`infer`: the most likely classes of one image or of a folder, by a checkpoint or by an exported artifact."""

from __future__ import annotations

import argparse
import json
import sys

from ppcls_compress.commands.common import (
    add_config_arguments,
    add_runtime_argument,
    check_runtime,
    read_config,
    require_weights,
)
from ppcls_compress.declare.paths import check_path
from ppcls_compress.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `infer`."""
    add_config_arguments(parser)
    parser.add_argument("--artifact", metavar="DIR", help="run this exported model instead of a checkpoint")
    add_runtime_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Classify `Infer.infer_imgs`; one line of JSON for each image on standard output.

    Raises:
        UserError: the configuration, a path or an image cannot be used.
    """
    config = read_config(args)
    check_runtime(args)
    if config.Infer is None or not config.Infer.infer_imgs:
        raise ConfigError("Infer.infer_imgs: name an image or a folder, such as -o Infer.infer_imgs=photo.jpg")
    check_path("Infer.infer_imgs", config.Infer.infer_imgs, "any")
    if args.artifact:
        check_path("--artifact", args.artifact, "folder")
    else:
        require_weights(config)
    from ppcls_compress import data
    from ppcls_compress.engine import assemble
    from ppcls_compress.engine.infer import classify
    from ppcls_compress.engine.logs import logging_to

    options = config.Infer
    paths = data.list_images(options.infer_imgs)
    with logging_to():
        if args.artifact:
            from ppcls_compress.deploy.predictor import Predictor

            answers = Predictor(args.artifact, runtime=args.runtime).classify(
                paths, topk=options.PostProcess.topk, batch_size=options.batch_size
            )
        else:
            assemble.start(config)
            predict = assemble.probabilities(assemble.build_model(config)[0])
            answers = classify(
                predict,
                paths,
                data.build_pipeline(options.transforms),
                topk=options.PostProcess.topk,
                class_names=assemble.class_names(config),
                batch_size=options.batch_size,
            )
        for answer in answers:
            sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")

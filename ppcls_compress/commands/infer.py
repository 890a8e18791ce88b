"""`infer`: what `Infer.PostProcess` tells of one image or of a folder, by a checkpoint or by an exported artifact."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ppcls_compress.commands.common import (
    add_config_arguments,
    add_runtime_argument,
    check_runtime,
    read_config,
    require_weights,
)
from ppcls_compress.config.schema import Config
from ppcls_compress.declare.paths import check_path
from ppcls_compress.errors import ConfigError, UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `infer`."""
    add_config_arguments(parser)
    parser.add_argument("--artifact", metavar="DIR", help="run this exported model instead of a checkpoint")
    add_runtime_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Classify `Infer.infer_imgs`; one line of JSON for each image on standard output.

    Of several images, those that cannot be read are told and passed over; the command fails at its end then.

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
        if not config.Infer.transforms:
            raise ConfigError("Infer.transforms: is needed to prepare images; give what DataLoader.Eval has")
    from ppcls_compress import data
    from ppcls_compress.engine.logs import logger, logging_to

    paths = data.list_images(config.Infer.infer_imgs)
    failures: list[data.BadImageError] = []

    def failed(error: data.BadImageError) -> None:
        failures.append(error)
        logger.error("%s", error)

    with logging_to():
        if passed := data.left_out(config.Infer.infer_imgs):
            logger.warning("Infer.infer_imgs: no images, and left out: %s", _some(passed))
        answers = _answers(args, config, paths, failed if len(paths) > 1 else None)
        for answer in answers:
            sys.stdout.write(_json(answer) + "\n")
    if failures:
        raise UserError(f"Infer.infer_imgs: {len(failures)} of {len(paths)} images have no answer, as told above")


def _answers(
    args: argparse.Namespace, config: Config, paths: list[Path], failed: Callable[[UserError], None] | None
) -> Iterator[dict[str, Any]]:
    options = config.Infer
    if args.artifact:
        from ppcls_compress.deploy.predictor import Predictor

        return Predictor(args.artifact, runtime=args.runtime).classify(
            paths, post_process=config.post_process, batch_size=options.batch_size, failed=failed
        )
    from ppcls_compress import data
    from ppcls_compress.engine import assemble
    from ppcls_compress.engine.infer import classify

    assemble.start(config)
    predict = assemble.scores(config, assemble.build_model(config)[0])
    return classify(
        predict,
        paths,
        data.build_pipeline(options.transforms),
        post_process=config.post_process,
        class_names=assemble.class_names(config),
        batch_size=options.batch_size,
        image_shape=config.Global.image_shape,
        failed=failed,
    )


def _json(answer: dict[str, Any]) -> str:
    """A line that standard output can write, whatever its encoding; a name of a file need not even be text."""
    line = json.dumps(answer, ensure_ascii=False)
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(answer)
    return line


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + rest

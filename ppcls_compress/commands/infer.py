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
    load_paddle,
    read_config,
    refuse_overrides,
    trained_weights,
)
from ppcls_compress.config.schema import Config, InferSection
from ppcls_compress.declare.paths import check_path
from ppcls_compress.errors import ConfigError, UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `infer`."""
    add_config_arguments(parser, required=False)
    parser.add_argument("--artifact", metavar="DIR", help="run this exported model instead of a checkpoint")
    parser.add_argument(
        "--images", metavar="PATH", help="an image, a folder or a list of images, instead of Infer.infer_imgs"
    )
    add_runtime_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Classify `--images` or `Infer.infer_imgs`; one line of JSON for each image on standard output.

    Of several images, those that cannot be read are told and passed over; the command fails at its end then.

    Raises:
        UserError: the configuration, a path or an image cannot be used.
    """
    where, answers_of = _alone(args) if args.config is None and args.artifact else _configured(args)
    from ppcls_compress import data
    from ppcls_compress.engine.logs import logger, logging_to

    paths = data.list_images(where)
    failures: list[data.BadImageError] = []

    def failed(error: data.BadImageError) -> None:
        failures.append(error)
        logger.error("%s", error)

    with logging_to():
        if passed := data.left_out(where):
            logger.warning("no images, and left out: %s", _some(passed))
        for answer in answers_of(paths, failed if len(paths) > 1 else None):
            sys.stdout.write(_json(answer) + "\n")
    if failures:
        raise UserError(f"{where}: {len(failures)} of {len(paths)} images have no answer, as told above")


_Failed = Callable[[UserError], None] | None
_Answers = Callable[[list[Path], _Failed], Iterator[dict[str, Any]]]
"""Images, and who is told of those that cannot be read, to what is told of each."""


def _alone(args: argparse.Namespace) -> tuple[str, _Answers]:
    """Where the images are, and the answers of an artifact, which knows by itself how to prepare an image."""
    refuse_overrides(args)
    check_runtime(args)
    check_path("--artifact", args.artifact, "folder")
    if not args.images:
        raise ConfigError("--images: name an image or a folder, such as --images photo.jpg")
    check_path("--images", args.images, "any")
    return args.images, lambda paths, failed: _exported(args, paths, failed)


def _exported(args: argparse.Namespace, paths: list[Path], failed: _Failed, **options: Any) -> Iterator[dict[str, Any]]:
    from ppcls_compress.deploy.predictor import Predictor

    return Predictor(args.artifact, runtime=args.runtime).classify(paths, failed=failed, **options)


def _configured(args: argparse.Namespace) -> tuple[str, _Answers]:
    """The same of a configuration, and of an artifact that answers as it says."""
    config = read_config(args)
    check_runtime(args)
    where = args.images or (config.Infer and config.Infer.infer_imgs)
    if not where:
        raise ConfigError("Infer.infer_imgs: name an image or a folder, such as -o Infer.infer_imgs=photo.jpg")
    check_path("--images" if args.images else "Infer.infer_imgs", where, "any")
    options = config.Infer or InferSection()
    if args.artifact:
        check_path("--artifact", args.artifact, "folder")
        said = {"post_process": config.post_process, "batch_size": options.batch_size}
        return where, lambda paths, failed: _exported(args, paths, failed, **said)
    config, told = trained_weights(args, config)
    if not options.transforms:
        raise ConfigError("Infer.transforms: is needed to prepare images; give what DataLoader.Eval has")
    return where, lambda paths, failed: _trained(config, told, paths, failed)


def _trained(config: Config, told: str, paths: list[Path], failed: _Failed) -> Iterator[dict[str, Any]]:
    load_paddle()
    from ppcls_compress import data
    from ppcls_compress.engine import assemble
    from ppcls_compress.engine.doubts.preparation import shape_made
    from ppcls_compress.engine.forward import check_takes
    from ppcls_compress.engine.infer import classify
    from ppcls_compress.engine.logs import logger

    if told:
        logger.info("%s", told)
    assemble.start(config)
    model = assemble.build_model(config)[0]
    predict = assemble.scores(config, model)
    shape, made = config.Global.image_shape, shape_made(config.Infer.transforms)
    if made is not None and made[0] == shape[0] and made != shape:
        shape = made
        check_takes(model, shape, class_num=config.Arch.class_num, who=f"Arch.name {config.Arch.name}")
    return classify(
        predict,
        paths,
        data.build_pipeline(config.Infer.transforms),
        post_process=config.post_process,
        class_names=assemble.class_names(config),
        batch_size=config.Infer.batch_size,
        image_shape=shape,
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

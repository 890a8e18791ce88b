"""What `quantize --model` is asked for: by arguments, a configuration, or a file of PaddleSlim's auto compression."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls_compress.commands.common import read_config
from ppcls_compress.errors import ConfigError
from ppcls_compress.slim.options import QuantOptions

if TYPE_CHECKING:
    from ppcls_compress.config.schema import Config
    from ppcls_compress.deploy.imported.jobs import Job, Listed
    from ppcls_compress.deploy.imported.prepare import Preparation
    from ppcls_compress.deploy.imported.source import Source


@dataclass(frozen=True)
class Request:
    """What is quantized, and on what.

    Attributes:
        source: the model.
        options: how.
        preparation: what an image becomes first.
        paths: images to calibrate and compare on.
        where: what these are, for messages.
        judged: images whose labels are known; None for no evaluation.
    """

    source: Source
    options: QuantOptions
    preparation: Preparation
    paths: Sequence[Path]
    where: str
    judged: Listed | None


def read(args: argparse.Namespace) -> Request:
    """The request of a command line.

    Raises:
        UserError: a file is missing or is not what it should be.
    """
    from ppcls_compress.deploy.imported import jobs, source
    from ppcls_compress.engine.logs import logger

    if args.act is None:
        config = None if args.config is None else read_config(args)
        job = jobs.Job(source.find(args.model), _options(config))
    else:
        config, job = None, jobs.read(args.act, args.reader)
        if job.unused:
            logger.warning("%s: not for a calibration, without effect here: %s", args.act, ", ".join(job.unused))
    paths, where = _images(args, config, job)
    return Request(job.source, job.options, _preparation(args, config, job), paths, where, _judged(args, job))


def _options(config: Config | None) -> QuantOptions:
    given = config.Slim.quant if config is not None and config.Slim else None
    return given or QuantOptions(name="ptq")


def _images(args: argparse.Namespace, config: Config | None, job: Job) -> tuple[list[Path], str]:
    from ppcls_compress.data import list_images
    from ppcls_compress.deploy.imported.judge import read_list

    if args.images is not None:
        return list_images(args.images), args.images
    if job.train is not None:
        return [Path(path) for path in read_list(job.train.root, job.train.file).paths], str(job.train.file)
    if config is None or config.DataLoader.Train is None:
        raise ConfigError("--images: needed, a folder of images to calibrate on")
    where = "DataLoader.Train.dataset"
    config.DataLoader.Train.dataset.check_paths(where)
    listed = config.DataLoader.Train.dataset.read(class_num=config.Arch.class_num, where=where)
    return [Path(path) for path in listed.paths], "DataLoader.Train"


def _preparation(args: argparse.Namespace, config: Config | None, job: Job) -> Preparation:
    from ppcls_compress.deploy.imported import prepare

    if args.preprocess is not None:
        return prepare.from_description(args.preprocess)
    if config is not None:
        return prepare.from_config(config)
    if job.preparation is not None:
        return job.preparation
    if job.source.preprocess is not None:
        return prepare.from_description(job.source.preprocess)
    raise ConfigError(
        f"--preprocess: {job.source.path} tells nothing of how an image is prepared; name an inference.yml with "
        "PreProcess.transform_ops, or a configuration with -c"
    )


def _judged(args: argparse.Namespace, job: Job) -> Listed | None:
    from ppcls_compress.deploy.imported.jobs import Listed

    if args.list is None:
        return job.val
    if args.images is None:
        return Listed(Path(args.list).parent, Path(args.list))
    folder = Path(args.images)
    return Listed(folder if folder.is_dir() else folder.parent, Path(args.list))

"""`report`: exported models side by side, evaluated on the same images and timed in one run; and what runs left."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls_compress.commands.common import (
    add_config_arguments,
    check_output_file,
    load_paddle,
    named_folders,
    read_config,
    refuse_overrides,
)
from ppcls_compress.config.paths import check_loader
from ppcls_compress.config.schema import Config
from ppcls_compress.errors import ConfigError
from ppcls_compress.passwords import hidden

if TYPE_CHECKING:
    from ppcls_compress.report.page.comparison import Measured
    from ppcls_compress.report.page.runs import Run

PAGE = "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `report`."""
    add_config_arguments(parser, required=False)
    parser.add_argument("artifacts", nargs="+", metavar="[NAME=]DIR", help="an exported model, or the folder of a run")
    parser.add_argument("--page", metavar="FILE", help=f"the HTML page (without -c: {PAGE} in the last DIR)")
    parser.add_argument("--images", metavar="DIR", help="without -c: a folder of images with val_list.txt")
    parser.add_argument("--out", metavar="FILE", help="with -c: write the rows to this JSON file too")
    parser.add_argument("--threads", type=int, default=1, help="for the latency (default: 1)")
    parser.add_argument("--batch-size", type=int, default=1, help="for the latency (default: 1)")
    parser.add_argument(
        "--rounds", type=int, default=200, help="how often each model is timed, in three processes (default: 200)"
    )


def run(args: argparse.Namespace) -> None:
    """Print one table: top-1 on `DataLoader.Eval`, parameters, multiply-adds, size, latency; or write a page.

    Raises:
        UserError: the configuration or an artifact cannot be used.
    """
    for option in ("threads", "batch_size", "rounds"):
        if getattr(args, option) < 1:
            raise ConfigError(f"--{option.replace('_', '-')}: expected 1 or more, found {getattr(args, option)}")
    for option, file in (("--page", args.page), ("--out", args.out)):
        check_output_file(option, file)
    named = named_folders("report", args.artifacts)
    if args.config is None:
        refuse_overrides(args)
        if args.out:
            raise ConfigError(
                "--out: is for the rows of the table, which needs a configuration, -c; --page names the page"
            )
    elif args.images:
        raise ConfigError("--images: with -c, DataLoader.Eval says what is evaluated; leave one of them out")
    config = None if args.config is None else read_config(args)
    if config is not None:
        check_loader(config, "Eval")
    load_paddle()
    from ppcls_compress import io
    from ppcls_compress.engine.logs import logging_to
    from ppcls_compress.report import summary
    from ppcls_compress.report.page import runs

    with logging_to():
        found = [runs.find(name, Path(folder)) for name, folder in named.items()]
        if config is not None and not args.page:
            places = _places(found)
            _doubts(config, found)
            rows = summary.summarize(config, places, **_timed(args))
        else:
            if args.out:
                _places(found)
            measured = _page(args, found, config)
            rows = [] if measured is None or config is None else summary.of_page(measured)
    if not rows:
        return
    summary.show(rows, threads=args.threads, batch_size=args.batch_size)
    if args.out:
        io.write_json(args.out, rows)


def _places(found: Sequence[Run]) -> dict[str, str]:
    """The first exported model of each run.

    Raises:
        ConfigError: a run has none.
    """
    for run in found:
        if not run.exported:
            raise ConfigError(f"report: {run.folder} holds no exported model; ppcls-compress export_model writes one")
    return {run.name: str(run.exported[0].directory) for run in found}


def _timed(args: argparse.Namespace) -> dict[str, int]:
    return {"threads": args.threads, "batch_size": args.batch_size, "rounds": args.rounds}


def _page(args: argparse.Namespace, found: Sequence[Run], config: Config | None) -> Measured | None:
    """Evaluate and time every artifact of every run, if there are any, and write the page."""
    from ppcls_compress.engine.logs import logger
    from ppcls_compress.report.page.write import Page, write

    exported = [run for run in found if run.exported]
    measured = _measured(args, exported, config) if exported else None
    file = Path(args.page or found[-1].folder / PAGE)
    write(file, Page(found, [_command(args)], measured))
    logger.info("the page is %s (%.1f MB)", file, file.stat().st_size / 1e6)
    return measured


def _measured(args: argparse.Namespace, found: Sequence[Run], config: Config | None) -> Measured:
    import numpy as np

    from ppcls_compress.commands.exported import config_of
    from ppcls_compress.deploy.predictor import Predictor
    from ppcls_compress.engine import assemble
    from ppcls_compress.report import benchmark
    from ppcls_compress.report.page import answers
    from ppcls_compress.report.page.comparison import Measured

    models = [entry for run in found for entry in benchmark.entries({run.name: run.exported[0].directory})]
    predictors = {run.name: Predictor(run.exported[0].directory) for run in found}
    first = found[0].exported[0]
    if config is None:
        classes = predictors[found[0].name].run(np.zeros((1, *first.description.image_shape), np.float32)).shape[1]
        config = config_of(first, classes, args.images)
    assemble.start(config)
    given, doubts = answers.ask(config, predictors), _doubts(config, found)
    times = benchmark.measure(models, threads=args.threads, batch=args.batch_size, rounds=args.rounds)
    return Measured(found, given, times, doubts)


def _doubts(config: Config, found: Sequence[Run]) -> list[str]:
    from ppcls_compress.engine.logs import logger
    from ppcls_compress.report import alike

    told = list(alike.doubts(config, {run.name: run.exported[0] for run in found}))
    for line in told:
        logger.warning("%s", line)
    return told


def _command(args: argparse.Namespace) -> str:
    """What makes the same page, whichever way it was asked for."""
    words = ["ppcls-compress", "report", *([] if args.config is None else ["-c", args.config])]
    for override in args.override:
        words += ["-o", override]
    for option in ("images", "page", "out"):
        words += [] if getattr(args, option) is None else [f"--{option}", getattr(args, option)]
    for option in ("threads", "batch_size", "rounds"):
        words += [f"--{option.replace('_', '-')}", str(getattr(args, option))]
    return shlex.join(map(hidden, [*words, *args.artifacts]))

"""`compress`: the search for a network that keeps a contract, its artifact, or a refusal."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ppcls_compress.commands.common import add_config_arguments, load_paddle, read_config, require_weights
from ppcls_compress.commands.ending import add_report_argument, leave_page
from ppcls_compress.config.auto import Auto
from ppcls_compress.config.load import read_overridden
from ppcls_compress.config.paths import check_can_train, check_loader
from ppcls_compress.config.train_modes import splits
from ppcls_compress.declare.paths import check_path
from ppcls_compress.errors import ConfigError, NotKeptError

if TYPE_CHECKING:
    from ppcls_compress.report.page.write import Page
    from ppcls_compress.search.workshop import Workshop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `compress`."""
    add_config_arguments(parser)
    parser.add_argument(
        "--worker", action="store_true", help="help a search that runs elsewhere, until it is over (Slim.auto.storage)"
    )
    add_report_argument(parser)
    parser.add_argument(
        "--profile", metavar="FILE", help="latencies of another machine, where ppcls-compress profile wrote this file"
    )


def run(args: argparse.Namespace) -> None:
    """Search from the dense weights `Global.pretrained_model` as `Slim.auto` says; a stopped search goes on.

    Raises:
        NotKeptError: nothing that was tried keeps the contract, or nothing could.
        UserError: the configuration or what it points at cannot be used.
    """
    config = read_config(args)
    if config.Slim is None or config.Slim.auto is None:
        raise ConfigError(f"Slim.auto: this section says what may be lost and what is wanted, such as {Auto.example}")
    check_can_train(config)
    for mode in (*splits(config), "Eval"):
        check_loader(config, mode)
    require_weights(config)
    if args.profile:
        check_path("--profile", args.profile, "file")
        if config.Slim.auto.cost != "latency":
            raise ConfigError(f"--profile: tells latencies, and Slim.auto is about {config.Slim.auto.cost}")
    from ppcls_compress.deploy import formats
    from ppcls_compress.deploy.extras import require
    from ppcls_compress.search.board import NEEDS

    name, runtime = config.Slim.auto.place
    formats.get(name).require()
    formats.get(name).runtime(runtime).require()
    require(NEEDS, "search")
    load_paddle()
    from ppcls_compress.engine import assemble
    from ppcls_compress.engine.logs import logger, logging_to
    from ppcls_compress.search import run as search

    base, _ = read_overridden(args.config, args.override)
    workshop = search.workshop_of(config, base, profile=args.profile)
    with logging_to():
        assemble.start(config)
        if args.worker:
            logger.info("the search is over; %d trainings were done here", search.work(workshop))
            return
        try:
            found = search.lead(workshop)
        except NotKeptError:
            if (workshop.folder / "tried.json").is_file():  # or nothing was tried, for no network could keep it
                leave_page(args, workshop.folder, lambda: _page(args, workshop, kept=False))
            raise
        logger.info("kept by %s, %s: %s", found.row.name, found.row.title, found.told(config.Slim.auto.cost))
        logger.info("written: %s", found.folder)
        leave_page(args, workshop.folder, lambda: _page(args, workshop, kept=True))


def _page(args: argparse.Namespace, workshop: Workshop, *, kept: bool) -> Page:
    """What was tried, the dense network, and the one that was found."""
    from ppcls_compress import io
    from ppcls_compress.report.page import runs
    from ppcls_compress.report.page.searched import Search
    from ppcls_compress.report.page.write import Page
    from ppcls_compress.search.final import RESULT

    auto, result = workshop.config.Slim.auto, workshop.folder / RESULT
    promise = io.read_json(result / "contract.json") if kept else None
    rows = io.read_json(workshop.folder / "tried.json")
    found = [runs.find("dense", workshop.dense_artifact)]
    found += [runs.find("compressed", result / "artifact")] if kept else []
    return Page(found, [args.typed], search=Search(rows, auto.cost, auto.share, auto.max_drop, promise))

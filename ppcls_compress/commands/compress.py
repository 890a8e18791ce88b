"""`compress`: the search for a network that keeps a contract, its artifact, or a refusal."""

from __future__ import annotations

import argparse

from ppcls_compress.commands.common import add_config_arguments, read_config, require_weights
from ppcls_compress.config.auto import Auto
from ppcls_compress.config.load import read_overridden
from ppcls_compress.config.paths import check_can_train, check_loader
from ppcls_compress.declare.paths import check_path
from ppcls_compress.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `compress`."""
    add_config_arguments(parser)
    parser.add_argument(
        "--worker", action="store_true", help="help a search that runs elsewhere, until it is over (Slim.auto.storage)"
    )
    parser.add_argument(
        "--profile", metavar="FILE", help="latencies of another machine, where tools/profile.py wrote this file"
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
    for mode in ("Train", "Eval"):
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
        found = search.lead(workshop)
        logger.info("kept by %s, %s: %s", found.row.name, found.row.title, found.told(config.Slim.auto.cost))
        logger.info("written: %s", found.folder)

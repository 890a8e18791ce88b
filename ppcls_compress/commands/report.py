"""`report`: several exported models side by side, evaluated on the same images and timed in one run."""

from __future__ import annotations

import argparse

from ppcls_compress.commands.common import add_config_arguments, named_folders, read_config
from ppcls_compress.config.paths import check_loader
from ppcls_compress.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `report`."""
    add_config_arguments(parser)
    parser.add_argument("artifacts", nargs="+", metavar="[NAME=]DIR", help="an exported model, and what to call it")
    parser.add_argument("--out", metavar="FILE", help="write the rows to this JSON file too")
    parser.add_argument("--threads", type=int, default=1, help="for the latency (default: 1)")
    parser.add_argument("--batch-size", type=int, default=1, help="for the latency (default: 1)")
    parser.add_argument("--rounds", type=int, default=200, help="how often each model is timed (default: 200)")


def run(args: argparse.Namespace) -> None:
    """Print one table: top-1 on `DataLoader.Eval`, parameters, multiply-adds, size, latency.

    Raises:
        UserError: the configuration or an artifact cannot be used.
    """
    for option in ("threads", "batch_size", "rounds"):
        if getattr(args, option) < 1:
            raise ConfigError(f"--{option.replace('_', '-')}: expected 1 or more, found {getattr(args, option)}")
    config = read_config(args)
    check_loader(config, "Eval")
    named = named_folders("report", args.artifacts)
    from ppcls_compress import io
    from ppcls_compress.report import summary

    rows = summary.summarize(config, named, threads=args.threads, batch_size=args.batch_size, rounds=args.rounds)
    summary.show(rows, threads=args.threads, batch_size=args.batch_size)
    if args.out:
        io.write_json(args.out, rows)

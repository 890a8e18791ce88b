"""`benchmark`: exported models side by side in every runtime: latency, throughput, memory, size."""

from __future__ import annotations

import argparse
from pathlib import Path

from ppcls_compress.commands.common import (
    add_config_arguments,
    load_paddle,
    named_folders,
    read_config,
    refuse_overrides,
)
from ppcls_compress.config.runs import run_folder
from ppcls_compress.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `benchmark`."""
    add_config_arguments(parser, required=False)
    parser.add_argument(
        "--artifacts",
        nargs="+",
        required=True,
        metavar="[NAME=]DIR",
        help="folders of exported models, with all formats in each; ratios are to the first one",
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1], metavar="N", help="numbers of threads to try")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], metavar="N", help="batch sizes to try")
    parser.add_argument(
        "--rounds", type=int, default=51, metavar="N", help="how often each is timed, in three processes (default: 51)"
    )
    parser.add_argument(
        "--output", metavar="DIR", help="default: <output_dir>/<Arch.name>/benchmark, without -c ./benchmark"
    )


def run(args: argparse.Namespace) -> None:
    """Print a table for each number of threads and batch size; write benchmark.csv and benchmark.png.

    Raises:
        UserError: the configuration, an option or an artifact cannot be used.
    """
    config = None if args.config is None else read_config(args)
    if config is None:
        refuse_overrides(args)
    for option, values in (("threads", args.threads), ("batch", args.batch), ("rounds", [args.rounds])):
        wrong = [value for value in values if value < 1]
        if wrong:
            raise ConfigError(f"--{option}: expected 1 or more, found {wrong[0]}")
    folders = named_folders("--artifacts", args.artifacts)
    from ppcls_compress import io, machine

    cores = len(machine.cores())
    if max(args.threads) > cores:
        raise ConfigError(f"--threads: this process may use only {cores} cores, found {max(args.threads)}")
    load_paddle()
    from ppcls_compress.engine.logs import logger, logging_to
    from ppcls_compress.report import benchmark

    with logging_to():
        models = benchmark.entries(folders)
        shape = models[0].exported.description.image_shape
        if config is not None and shape != tuple(config.Global.image_shape):
            raise ConfigError(
                f"--artifacts: take images {list(shape)}, Global.image_shape is {list(config.Global.image_shape)}"
            )
        output = io.make_folder(args.output or (run_folder(config) if config else Path()) / "benchmark")
        logger.info("%s, %d cores", machine.cpu_name(), cores)
        for note in (machine.int8_note(), benchmark.reference_note(models)):
            if note:
                logger.warning(note)
        rows = []
        try:
            for threads in dict.fromkeys(args.threads):
                for batch in dict.fromkeys(args.batch):
                    rows += benchmark.measure(models, threads=threads, batch=batch, rounds=args.rounds)
                    benchmark.write_csv(rows, output / "benchmark.csv")
        finally:
            if rows:
                benchmark.show(rows)
                logger.info("written: %s", output / "benchmark.csv")
        for line in benchmark.slower_than_float(models, rows):
            logger.warning(line)
        benchmark.plot(rows, output / "benchmark.png")
        logger.info("written: %s", output / "benchmark.png")

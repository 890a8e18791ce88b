"""`train`: a whole run, or with `--dry-run` a rehearsal of one on synthetic images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls_compress.commands.common import add_config_arguments, load_paddle, read_config
from ppcls_compress.commands.ending import add_report_argument, leave_page
from ppcls_compress.config.paths import check_can_train, check_teacher, check_training, check_weights
from ppcls_compress.config.profiler import parse_profiler
from ppcls_compress.config.runs import run_folder
from ppcls_compress.config.schema import Config
from ppcls_compress.errors import ConfigError

if TYPE_CHECKING:
    from ppcls_compress.report.page.write import Page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `train`."""
    add_config_arguments(parser)
    parser.add_argument("-p", "--profiler", metavar="OPTIONS", help='such as "batch_range=[10,20];timer_only=False"')
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse a damaged checkpoint, instead of going on from the one before it",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the latest checkpoint in the run's folder, where there is one: for jobs that are restarted",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="build everything, take two steps on synthetic images, compress and export to a temporary folder",
    )
    add_report_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Train as configured.

    Raises:
        UserError: the configuration or what it points at cannot be used.
    """
    config = read_config(args)
    profiler = parse_profiler(args.profiler) if args.profiler else None
    if args.dry_run:
        load_paddle()
        from ppcls_compress.commands.dry_run import rehearse

        check_rehearsal(config)
        rehearse(config)
        return
    if args.resume and config.Global.checkpoints:
        raise ConfigError("--resume: goes on from the run's own folder; leave it out with Global.checkpoints")
    _check_trains(config)
    check_training(config)
    load_paddle()
    from ppcls_compress.deploy.configured import latency_of
    from ppcls_compress.engine.distributed import is_main
    from ppcls_compress.engine.hooks.history import Command
    from ppcls_compress.engine.logs import logging_to
    from ppcls_compress.engine.train import tell_outcome, train

    if args.resume:
        config = _resumed(config, run_folder(config) / "latest")
    hooks = [Command(run_folder(config), args.typed)] if is_main() else []
    if profiler is not None:
        from ppcls_compress.engine.hooks.profiler import Profiler

        hooks.append(Profiler(profiler))
    with logging_to(run_folder(config), main=is_main()):
        progress = train(config, extra_hooks=hooks, latency=latency_of(config), strict=args.strict)
        tell_outcome(progress, config)
        if is_main():
            leave_page(args, run_folder(config), lambda: _page(args, config))


def check_rehearsal(config: Config) -> None:
    """What a dry run needs, which is all that training does but for images.

    Raises:
        UserError: the configuration or what it points at cannot be used.
    """
    _check_trains(config)
    check_can_train(config)
    check_weights(config)
    check_teacher(config)


def _page(args: argparse.Namespace, config: Config) -> Page:
    from ppcls_compress.report.page import runs
    from ppcls_compress.report.page.write import Page

    return Page([runs.trained(config.Arch.name, run_folder(config))], [args.typed])


def _resumed(config: Config, latest: Path) -> Config:
    """The configuration with `latest` in place of what the run started from, where there is such a checkpoint."""
    if not Path(f"{latest}.pdstates").exists():
        return config
    common = config.Global.model_copy(update={"checkpoints": str(latest), "pretrained_model": None})
    return config.model_copy(update={"Global": common})


def _check_trains(config: Config) -> None:
    if config.Slim and config.Slim.auto:
        raise ConfigError("Slim.auto: is searched by ppcls-compress compress; train the recipe.yaml that it writes")
    if config.Slim and config.Slim.quant and config.Slim.quant.name == "ptq":
        raise ConfigError(
            "Slim.quant.name: ptq needs no training; run ppcls-compress quantize with the same configuration"
        )

"""`sensitivity`: how much accuracy each layer's pruning costs, as curves, as JSON, and as ratios to use."""

from __future__ import annotations

import argparse

from ppcls_compress.commands.common import add_config_arguments, load_paddle, read_config, require_weights
from ppcls_compress.config.paths import check_can_train, check_loader
from ppcls_compress.config.runs import run_folder
from ppcls_compress.errors import ConfigError
from ppcls_compress.slim.prune.choose.criteria import CRITERIA

_TARGETS = {
    "target_flops": "share of the multiply-adds to keep",
    "target_params": "share of the parameters to keep",
    "target_latency_ms": "milliseconds for one image, exported, one thread",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sensitivity`."""
    add_config_arguments(parser)
    parser.add_argument("--out", metavar="DIR", help="default: <output_dir>/<Arch.name>/sensitivity")
    parser.add_argument("--images", type=int, metavar="N", help="evaluate on N validation images instead of all")
    targets = parser.add_mutually_exclusive_group()
    for name, what in _TARGETS.items():
        targets.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="X", help=f"suggest ratios for: {what}")


def run(args: argparse.Namespace) -> None:
    """Measure the weights `Global.pretrained_model`; a run that was stopped goes on where it was.

    Raises:
        UserError: the configuration or what it points at cannot be used, or the target cannot be met.
    """
    config = read_config(args)
    if args.images is not None and args.images < 1:
        raise ConfigError(f"--images: expected 1 or more, found {args.images}")
    for name in ("target_flops", "target_params"):
        value = getattr(args, name)
        if value is not None and not 0 < value < 1:
            raise ConfigError(f"--{name.replace('_', '-')}: expected a share between 0 and 1, found {value}")
    check_loader(config, "Eval")
    if config.Slim and config.Slim.prune and CRITERIA.get(config.Slim.prune.name).needs_gradients:
        check_can_train(config)
        check_loader(config, "Train")
    require_weights(config)
    load_paddle()
    from ppcls_compress import io
    from ppcls_compress.deploy.configured import latency_of
    from ppcls_compress.engine import assemble, sensitivity_run
    from ppcls_compress.engine.logs import logging_to
    from ppcls_compress.report import curves

    folder = io.make_folder(args.out or run_folder(config) / "sensitivity")
    with logging_to():
        assemble.start(config)
        study = sensitivity_run.study(config, folder / "sensitivity.json", images=args.images)
        curves.plot(study.by_layer, folder / "sensitivity.png")
        for name in _TARGETS:
            if getattr(args, name) is not None:
                sensitivity_run.suggest(study, name, getattr(args, name), folder / "suggested.yaml", latency_of(config))

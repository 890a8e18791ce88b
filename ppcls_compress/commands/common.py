"""What the commands share: the arguments `-c` and `-o`, and the checks that come before anything heavy is loaded."""

from __future__ import annotations

import argparse
import gc
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppcls_compress.config import runs
from ppcls_compress.config.load import load_config
from ppcls_compress.config.paths import check_weights
from ppcls_compress.config.schema import Config
from ppcls_compress.declare.paths import check_path
from ppcls_compress.deploy.staging import check_writable
from ppcls_compress.engine.progress import step
from ppcls_compress.errors import ConfigError, one_line, unknown
from ppcls_compress.models import catalog


class _Once(argparse.Action):
    """An option whose second value would silently take the place of the first."""

    def __call__(
        self, parser: argparse.ArgumentParser, args: argparse.Namespace, value: Any, option: str | None = None
    ) -> None:
        before = getattr(args, self.dest)
        if before is not None:
            parser.error(f"{option} is given twice: {before} and {value}; one file may stand on another by _BASE_")
        setattr(args, self.dest, value)


def add_config_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """`-c config.yaml` and any number of `-o key.path=value`; `required` says whether there must be a file."""
    what = "the YAML file of the experiment" + ("" if required else "; an exported model needs none")
    parser.add_argument("-c", "--config", required=required, action=_Once, metavar="FILE", help=what)
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace one value, such as -o Global.epochs=10 or -o DataLoader.Train.sampler.batch_size=64",
    )


def add_runtime_argument(parser: argparse.ArgumentParser) -> None:
    """`--runtime NAME`, for a command that has `--artifact`."""
    parser.add_argument(
        "--runtime",
        metavar="NAME",
        help="run the exported model in this runtime of its format: openvino for onnx-ort (default: its own)",
    )


def check_runtime(args: argparse.Namespace) -> None:
    """Refuse `--runtime` where nothing exported is run, and a runtime that there is not.

    Raises:
        ConfigError: says what is wrong.
    """
    from ppcls_compress.deploy.formats import RUNTIMES

    if args.runtime is None:
        return
    if not args.artifact:
        raise ConfigError("--runtime: is for exported models, which --artifact names")
    if args.runtime not in RUNTIMES:
        raise ConfigError(f"--runtime: {unknown('runtime', args.runtime, RUNTIMES)}")


def require_weights(config: Config) -> None:
    """Refuse to go on with fresh weights where only trained ones make sense.

    Raises:
        ConfigError: neither `Global.pretrained_model` nor `Arch.pretrained` is given, or what they name is missing.
    """
    if not (config.Global.pretrained_model or config.Arch.pretrained):
        such = runs.own_weights(config) or "output/ResNet50/best_model"
        raise ConfigError(f"Global.pretrained_model: name the trained weights, such as {such}")
    check_weights(config)


def trained_weights(args: argparse.Namespace, config: Config) -> tuple[Config, str]:
    """The configuration with the weights of a finished run, and what to log of them, or an empty text.

    Where nothing names weights, those that the configuration's own run left; see `runs.trained`.

    Raises:
        ConfigError: nothing names weights and there was no such run, or what is named is missing.
    """
    config, told = runs.trained(config, args.override)
    check_weights(config)
    return config, told


def check_output_file(option: str, file: str | Path | None) -> None:
    """Refuse, before anything is computed, a file of results that cannot be written; nothing of it stays.

    Raises:
        UserError: it is a folder, or in one that cannot be written.
    """
    if file is None:
        return
    if Path(file).is_dir():
        raise ConfigError(f"{option}: {file} is a folder; name a file")
    check_writable(Path(file).parent)


def load_paddle() -> None:
    """Import PaddlePaddle, which takes a second or more: a terminal is told so meanwhile."""
    collects = gc.isenabled()
    gc.disable()  # what is imported stays: to look for garbage in it takes a fifth of the time
    try:
        with step("loading PaddlePaddle"):
            importlib.import_module("paddle")
    finally:
        if collects:
            gc.enable()


def read_config(args: argparse.Namespace) -> Config:
    """The validated configuration, its backbone's name and options checked too.

    Raises:
        ConfigError: one line for each problem; or there is no file, which only an exported model can do without.
    """
    if args.config is None:
        raise ConfigError("-c: name the configuration, or with --artifact an exported model, which needs none")
    return load_checked(args.config, args.override)


def refuse_overrides(args: argparse.Namespace) -> None:
    """Refuse `-o` where there is no configuration that it could change.

    Raises:
        ConfigError: there is one.
    """
    if args.override:
        raise ConfigError(f"-o {one_line(args.override[0], 200)}: changes a configuration; name it with -c")


def load_checked(file: str, overrides: Sequence[str]) -> Config:
    """As `read_config`, of a file and the values of `-o`."""
    config = load_config(file, overrides)
    together = config.Arch.together
    networks = [(each.where, each.arch) for each in together.networks] if together else [("Arch", config.Arch)]
    for where, arch in networks:
        catalog.check(arch.name, {"class_num": arch.class_num, **arch.family_options}, where=where)
    if config.Slim and config.Slim.distill and config.Slim.distill.arch:
        catalog.check(config.Slim.distill.arch, {"class_num": config.Arch.class_num}, where="Slim.distill.arch")
    return config


def named_folders(where: str, texts: Sequence[str]) -> dict[str, str]:
    """Folders by name, from `NAME=DIR`, or `DIR` alone, which is its own name.

    Args:
        where: the argument, for messages.
        texts: as the user wrote them.

    Raises:
        ConfigError: a folder is missing, or two have the same name.
    """
    named: dict[str, str] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not equals or Path(text).is_dir():
            name, folder = text, text
        if not name:
            raise ConfigError(f"{where}: expected NAME=DIR or DIR, found {text!r}")
        check_path(where if name == text else f"{where}: {name}", folder, "folder")
        if name in named:
            raise ConfigError(f"{where}: two artifacts are called {name!r}; give each a name of its own: NAME=DIR")
        named[name] = folder
    return named

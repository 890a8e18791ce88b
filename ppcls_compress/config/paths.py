"""Checks that what a configuration points at exists, before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path

from ppcls_compress.config import train_modes
from ppcls_compress.config.schema import Config
from ppcls_compress.declare.paths import check_path, check_possible, weights_folder
from ppcls_compress.download import is_url
from ppcls_compress.errors import ConfigError
from ppcls_compress.io import weights_file


def check_training(config: Config) -> None:
    """What training needs: the sections, the lists and images, the weights to start from and to learn from.

    Raises:
        ConfigError: naming the key, and what it points at.
    """
    check_can_train(config)
    for mode in train_modes.splits(config):
        check_loader(config, mode)
    if config.Global.eval_during_train:
        check_loader(config, "Eval")
    check_weights(config)
    check_teacher(config)
    check_companions(config)


def check_can_train(config: Config) -> None:
    """The sections without which no training run, not even a dry one, can be built.

    Raises:
        ConfigError: naming the missing section.
    """
    for section in ("Loss", "Optimizer"):
        if getattr(config, section) is None:
            raise ConfigError(f"{section}: this section is needed for training, and is not in the configuration")
    if config.DataLoader.Train is None:
        raise ConfigError("DataLoader.Train: this section is needed for training, and is not in the configuration")


def check_loader(config: Config, mode: str) -> None:
    """The list file and the image folder of `DataLoader.<mode>`.

    Raises:
        ConfigError: the section or a path is missing.
    """
    loader = getattr(config.DataLoader, mode)
    if loader is None:
        hint = "; set Global.eval_during_train to False to train without it" if mode == "Eval" else ""
        raise ConfigError(f"DataLoader.{mode}: this section is needed, and is not in the configuration{hint}")
    loader.check_paths(f"DataLoader.{mode}")


def check_weights(config: Config) -> None:
    """`Global.pretrained_model` and `Global.checkpoints`, where they are given.

    Raises:
        ConfigError: one of them does not exist; a URL is looked up later.
    """
    if config.Global.pretrained_model and not is_url(config.Global.pretrained_model):
        _check_weights_file("Global.pretrained_model", config.Global.pretrained_model)
    if config.Global.checkpoints:
        _check_weights_file("Global.checkpoints", config.Global.checkpoints)


def check_teacher(config: Config) -> None:
    """`Slim.distill.teacher`, where it is given; only training reads it.

    Raises:
        ConfigError: it does not exist.
    """
    if config.Slim and config.Slim.distill:
        _check_weights_file("Slim.distill.teacher", config.Slim.distill.teacher)


def check_companions(config: Config) -> None:
    """The weights of the networks that the configured one is trained with, unless those of all of them are given.

    Raises:
        ConfigError: a frozen network has none, so that nothing could be learned from it; or a path does not exist.
    """
    together = config.Arch.together
    if together is None or config.Global.checkpoints or config.Global.pretrained_model:
        return
    for network in together.networks:
        backbone = network.arch.family_options.get("Backbone") or {}
        weights = network.arch.pretrained or backbone.get("pretrained")
        if network.frozen and not weights:
            raise ConfigError(
                f"{network.where}.pretrained: {network.name} is frozen and others learn from it, so it needs weights: "
                f"-o {network.where}.pretrained=output/{network.arch.name}/best_model, or train it too, with False in "
                "Arch.freeze_params_list"
            )
        if isinstance(weights, str) and not is_url(weights) and network.name != together.student:
            _check_weights_file(f"{network.where}.pretrained", weights)


def _check_weights_file(key: str, prefix: str) -> None:
    if is_url(prefix):
        raise ConfigError(f"{key}: expected a path, found {prefix}; Arch.pretrained takes a URL")
    check_possible(key, prefix)
    if not weights_file(prefix).is_file() and (problem := weights_folder(Path(prefix))):
        raise ConfigError(f"{key}: {problem}")
    if Path(prefix).is_file() and not weights_file(prefix).is_file():
        raise ConfigError(f"{key}: {prefix} is no .pdparams or .safetensors file, which weights are read from")
    check_path(key, str(weights_file(prefix)), "file")

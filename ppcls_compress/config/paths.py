"""Checks that what a configuration points at exists, before anything heavy is loaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ppcls_compress.download import is_url
from ppcls_compress.errors import ConfigError, closest
from ppcls_compress.io import weights_file

if TYPE_CHECKING:  # `check_path` serves the data package too, which needs no schema
    from ppcls_compress.config.schema import Config


def check_training(config: Config) -> None:
    """What training needs: the sections, the lists and images, the weights to start from and to learn from.

    Raises:
        ConfigError: naming the key, and what it points at.
    """
    check_can_train(config)
    check_loader(config, "Train")
    if config.Global.eval_during_train:
        check_loader(config, "Eval")
    check_weights(config)
    check_teacher(config)


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
    where = f"DataLoader.{mode}.dataset"
    check_path(f"{where}.cls_label_path", loader.dataset.cls_label_path, "file")
    check_path(f"{where}.image_root", loader.dataset.image_root, "folder")


def check_weights(config: Config) -> None:
    """`Global.pretrained_model` and `Global.checkpoints`, where they are given.

    Raises:
        ConfigError: one of them does not exist.
    """
    if config.Global.pretrained_model:
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


def _check_weights_file(key: str, prefix: str) -> None:
    if is_url(prefix):
        raise ConfigError(f"{key}: expected a path, found {prefix}; Arch.pretrained takes a URL")
    check_path(key, str(weights_file(prefix)), "file")


def exists(text: str) -> bool:
    """Whether a configured path is there; one with a variable that is not set is not."""
    return Path(text).exists()


def check_path(key: str, text: str, kind: str) -> Path:
    """The path that `key` gives, which must be an existing `file` or `folder`.

    Raises:
        ConfigError: it is not there; the message names the first missing part, or the variable that is not set.
    """
    unset = re.search(r"\$\{?(\w+)", text)
    if unset:
        raise ConfigError(f"{key}: {text} uses ${unset.group(1)}, which is not set; export it, or give a plain path")
    path = Path(text)
    if (path.is_file() if kind == "file" else path.is_dir()) or (kind == "any" and path.exists()):
        return path
    if path.exists():
        raise ConfigError(f"{key}: {path} is not a {kind}")
    parent = path.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if parent != path.parent:
        raise ConfigError(
            f"{key}: {path} does not exist; there is nothing at {parent / path.relative_to(parent).parts[0]}"
        )
    match = closest(path.name, [other.name for other in parent.iterdir()])
    raise ConfigError(f"{key}: {path} does not exist" + (f"; did you mean {parent / match}?" if match else ""))

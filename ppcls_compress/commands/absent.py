"""Weights that a configuration names and that are not here: a file may be right without them."""

from __future__ import annotations

from typing import Any

from ppcls_compress.config.schema import Config
from ppcls_compress.config.sections import Arch
from ppcls_compress.download import is_url
from ppcls_compress.io import weights_file


def without_absent_weights(config: Config) -> tuple[Config, list[str]]:
    """The configuration with fresh weights in place of files that do not exist, and their keys."""
    keys: list[str] = []
    common = {
        key: None
        for key in ("pretrained_model", "checkpoints")
        if _absent(getattr(config.Global, key), f"Global.{key}", keys)
    }
    arch = _alone(config.Arch, "Arch", keys)
    together = config.Arch.together
    if together is not None:
        keys[:] = [key for key in keys if key.startswith("Global.")]  # the network's own section tells it better
        networks = tuple(
            network.model_copy(update={"arch": _alone(network.arch, network.where, keys)})
            for network in together.networks
        )
        together = together.model_copy(update={"networks": networks})
    arch = arch.model_copy(update={"together": together})
    return config.model_copy(update={"Global": config.Global.model_copy(update=common), "Arch": arch}), keys


def _alone(arch: Arch, where: str, keys: list[str]) -> Arch:
    update: dict[str, Any] = {}
    if _absent(arch.pretrained, f"{where}.pretrained", keys):
        update["pretrained"] = False
    backbone = arch.family_options.get("Backbone")
    if isinstance(backbone, dict) and _absent(backbone.get("pretrained"), f"{where}.Backbone.pretrained", keys):
        update["Backbone"] = {**backbone, "pretrained": False}
    return arch.model_copy(update=update)


def _absent(weights: Any, key: str, keys: list[str]) -> bool:
    absent = isinstance(weights, str) and not is_url(weights) and not weights_file(weights).is_file()
    if absent:
        keys.append(key)
    return absent

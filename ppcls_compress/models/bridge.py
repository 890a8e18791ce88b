"""Networks of a PaddleClas on the path, built by its own code, without importing the rest of it.

Its backbones import each other, and a few helpers, by relative imports alone. So they are loaded below a package of
another name, in which packages are empty and the helpers stand-ins: nothing is called `ppcls` or `paddleclas` that was
not before, and none of what PaddleClas needs beside Paddle and NumPy is.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from paddle import nn
from paddle.base import unique_name

from ppcls_compress.declare.arithmetic import parse_number
from ppcls_compress.errors import ConfigError, first_line
from ppcls_compress.models import upstream
from ppcls_compress.models.layers import DropPath
from ppcls_compress.models.upstream import UpstreamOptions

_ROOT = "ppcls_compress_paddleclas"


def create(*, name: str, options: UpstreamOptions) -> nn.Layer:
    """The network `name` of the PaddleClas on the path, freshly initialised.

    Raises:
        ConfigError: its code refuses the options, or does not run on this Paddle.
    """
    ppcls = upstream.find(name)
    given = {key: _number(value) for key, value in (options.model_extra or {}).items()}
    try:
        make = getattr(load(ppcls, upstream.modules(ppcls)[name]), name)
        given.update(_class_num(name, make, options.class_num))
        if "pretrained" in inspect.signature(make).parameters:
            given["pretrained"] = False
        # Some give their parameters names, which Paddle lets no second network in a process have.
        with unique_name.guard(unique_name.generator):
            return _traceable(make(**given))
    except Exception as error:  # whatever its code raises
        raise ConfigError(f"Arch.name: {name} of {ppcls} cannot be built: {first_line(error)}") from error


def _traceable(network: nn.Layer) -> nn.Layer:
    """The network with our drop path in place of PaddleClas', which looks at numbers that a trace does not have."""
    for layer in network.sublayers(include_self=True):
        for name, part in layer._sub_layers.items():
            if type(part).__name__ == "DropPath" and hasattr(part, "drop_prob"):
                layer._sub_layers[name] = DropPath(float(part.drop_prob or 0.0))
    return network


def _number(value: object) -> object:
    """A value with each number in it that YAML reads as a string, such as 1e-6, as one."""
    if isinstance(value, Mapping):
        return {key: _number(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_number(item) for item in value]
    try:
        return parse_number(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _class_num(name: str, make: Callable[..., nn.Layer], count: int) -> dict[str, int]:
    """The number of classes as the network calls it; one that has none, a backbone of features alone, is given none."""
    parameters = inspect.signature(make).parameters
    swallows = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    key = upstream.class_option(name)
    return {key: count} if swallows or key in parameters else {}


def published(name: str) -> str | None:
    """The URL of the weights that PaddleClas publishes for a network, where its module tells one."""
    ppcls = upstream.find(name)
    urls = vars(load(ppcls, upstream.modules(ppcls)[name])).get("MODEL_URLS", {})
    return urls.get(name) or None


def load(ppcls: Path, module: str) -> types.ModuleType:
    """A module below `arch/backbone`, of a PaddleClas in the folder `ppcls`."""
    package = f"{_ROOT}_{zlib.crc32(str(ppcls).encode()):08x}"
    if package not in sys.modules:
        _stand_in(ppcls, package)
    loaded = importlib.import_module(f"{package}.arch.backbone.{module}")
    if module == "variant_models.foundation_vit_variant" and loaded.CLIP_vit_large_patch14_224.__module__ != __name__:
        loaded.CLIP_vit_large_patch14_224 = _giving_tokens(loaded.CLIP_vit_large_patch14_224)
    return loaded


def _giving_tokens(make: Callable[..., nn.Layer]) -> Callable[..., nn.Layer]:
    """A CLIP network that gives its tokens, for the score that is built on the first; in 2.6.0 it gives none."""

    def build() -> nn.Layer:
        network = make(return_embed=True)
        network.proj = None
        return network

    return build


def _stand_in(ppcls: Path, package: str) -> None:
    """Packages without code of their own, and the helpers that backbones take from `ppcls.utils`."""
    for name in ("", "arch", "arch.backbone", "utils"):
        empty = types.ModuleType(f"{package}.{name}".rstrip("."))
        empty.__path__ = [str(ppcls.joinpath(*filter(None, name.split("."))))]
        sys.modules[empty.__name__] = empty
    helpers: dict[str, dict[str, Any]] = {
        "save_load": {"load_dygraph_pretrain": _no_weights, "load_dygraph_pretrain_from_url": _no_weights},
        "download": {"get_weights_path_from_url": _no_weights},
        "config": {"AttrDict": _AttributeDict},
        "logger": dict.fromkeys(("debug", "info", "warning", "error", "advertise"), _quiet),
    }
    for name, members in helpers.items():
        helper = types.ModuleType(f"{package}.utils.{name}")
        vars(helper).update(members)
        sys.modules[helper.__name__] = helper
        setattr(sys.modules[f"{package}.utils"], name, helper)


class _AttributeDict(dict):
    """A dictionary whose keys can be read and set as attributes."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


def _no_weights(*_arguments: object, **_options: object) -> None:
    raise RuntimeError("weights are loaded by Arch.pretrained, not by the network itself")


def _quiet(*_arguments: object) -> None:
    pass

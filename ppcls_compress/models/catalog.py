"""Which backbones there are; Paddle-free.

The catalogue is consulted while a config is read, before Paddle is loaded; `ppcls_compress.models.build` builds.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from pydantic import ValidationError

from ppcls_compress.errors import ConfigError, unknown
from ppcls_compress.models import upstream
from ppcls_compress.models.families.base import Arch, ArchOptions
from ppcls_compress.registry import Registry

_FAMILIES = (
    "alexnet",
    "cifar_mobilenet_v3",
    "cifar_resnet",
    "densenet",
    "efficientnet",
    "esnet",
    "ghostnet",
    "hrnet",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3",
    "mobilenet_v4",
    "pphgnet",
    "pphgnet_v2",
    "pplcnet",
    "pplcnet_v2",
    "repvgg",
    "res2net",
    "resnet",
    "resnext",
    "shufflenet_v2",
    "squeezenet",
    "swin_transformer",
    "vgg",
    "vision",
    "wide_resnet",
)
"""Each is a file of `families`, with its names and options, and one beside this, which builds the networks."""

_ARCHS: Registry[Arch] = Registry("architecture")
for _family in _FAMILIES:
    for _arch in importlib.import_module(f"ppcls_compress.models.families.{_family}").ARCHS:
        _ARCHS.register(_arch.name)(_arch)


def names() -> list[str]:
    """Every architecture, in alphabetical order."""
    return sorted(_ARCHS)


def get(name: str, *, where: str = "Arch") -> Arch:
    """The entry of one architecture, of ours or of a PaddleClas on the path.

    Raises:
        ConfigError: no such name; `where` is the config section to blame.
    """
    if name in _ARCHS:
        return _ARCHS.get(name)
    if upstream.find(name) is not None:
        return Arch(name, "bridge", "create", upstream.UpstreamOptions, {"name": name})
    others = upstream.names()
    text = unknown(_ARCHS.kind, name, {*_ARCHS, *others})
    hint = "" if others else f". Any network of PaddleClas is built too where it is found: {upstream.INSTALL}"
    raise ConfigError(f"{where}.name: {text}{hint}")


def parse(name: str, options: Mapping[str, object], *, where: str = "Arch") -> ArchOptions:
    """The validated options of an architecture, defaults filled in.

    Raises:
        ConfigError: an unknown name or option, a value of the wrong type or out of range; one line, starting with
            the key's path under `where`.
    """
    kind = get(name, where=where).options
    if kind is upstream.UpstreamOptions:
        upstream.check_options(name, options, where=where)
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        raise ConfigError(_explain(error, kind, where)) from error


def _explain(error: ValidationError, kind: type[ArchOptions], where: str) -> str:
    problem = error.errors(include_url=False)[0]
    keys = [str(part) for part in problem["loc"] if isinstance(part, int) or part in kind.model_fields]
    found = "" if problem["type"] == "unknown_key" else f", found {problem['input']!r}"
    text = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    return f"{'.'.join([where, *keys])}: {text}{found}"


def check(name: str, options: Mapping[str, object], where: str = "Arch") -> None:
    """Refuse an unknown architecture or an option that it cannot take; raises as `parse` does."""
    parse(name, options, where=where)

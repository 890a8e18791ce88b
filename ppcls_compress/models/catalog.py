"""Which backbones there are; Paddle-free.

The catalogue is consulted while a config is read, before Paddle is loaded; `ppcls_compress.models.build` builds.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from difflib import get_close_matches

from pydantic import ValidationError

from ppcls_compress.errors import ConfigError, shortened, unknown
from ppcls_compress.models import upstream
from ppcls_compress.models.families.base import Arch, ArchOptions
from ppcls_compress.registry import Registry

_FAMILIES = (
    "adaface",
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
    "recognition",
    "repvgg",
    "res2net",
    "resnet",
    "resnext",
    "shufflenet_v2",
    "squeezenet",
    "swin_transformer",
    "swin_transformer_v2",
    "vgg",
    "vision",
    "wide_resnet",
)
"""Each is a file of `families`, with its names and options, and one beside this, which builds the networks."""

_LONGEST = 200
"""Of a name that is compared with others."""

_ARCHS: Registry[Arch] = Registry("architecture")
for _family in _FAMILIES:
    for _arch in importlib.import_module(f"ppcls_compress.models.families.{_family}").ARCHS:
        _ARCHS.register(_arch.name)(_arch)


def names() -> list[str]:
    """Every backbone, in alphabetical order."""
    return sorted(name for name in _ARCHS if _ARCHS.get(name).backbone)


def gated() -> list[str]:
    """The backbones whose gates `Global.train_mode: metabin` trains."""
    return [name for name in names() if _ARCHS.get(name).options.has_gates]


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
    if not others:
        nearest = get_close_matches(str(name)[:_LONGEST], _ARCHS, n=1, cutoff=0.0)[0]
        text = f"{text}. The nearest that is built in is {nearest}; any network of PaddleClas is built too where it is "
        text = f"{text}found: {upstream.INSTALL}"
    raise ConfigError(f"{where}.name: {text}")


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
        parsed = kind.model_validate(dict(options))
    except ValidationError as error:
        raise ConfigError(_explain(error, options, where)) from error
    for key, (part, own) in parsed.networks().items():
        check(part, own, where=f"{where}.{key}")
    return parsed


def _explain(error: ValidationError, options: Mapping[str, object], where: str) -> str:
    problem = error.errors(include_url=False)[0]
    kind, context = problem["type"], problem.get("ctx", {})
    path, node = [where], options
    for part in problem["loc"]:  # pydantic also names the member of a union, which is left out
        inside = isinstance(node, Mapping) and part in node
        inside = inside or (isinstance(node, list | tuple) and isinstance(part, int) and part < len(node))
        if inside:
            node = node[part]
        if inside or (kind == "missing" and part == problem["loc"][-1]):
            path.append(str(part))
    if kind == "at_key":
        path.append(context["key"])
    text = "required, but not given" if kind == "missing" else problem["msg"].removeprefix("Value error, ")
    text = text.replace("Input should be", "expected")
    told = kind in ("unknown_key", "at_key", "no_section", "missing")
    return f"{'.'.join(path)}: {text}{'' if told else f', found {shortened(node)}'}"


def check(name: str, options: Mapping[str, object], where: str = "Arch") -> None:
    """Refuse an unknown architecture or an option that it cannot take; raises as `parse` does."""
    parse(name, options, where=where)

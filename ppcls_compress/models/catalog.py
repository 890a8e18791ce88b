"""Which backbones there are, which options each takes, where its weights are published; Paddle-free.

The catalogue is consulted while a config is read, before Paddle is loaded; `ppcls_compress.models.build` builds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pydantic import ValidationError

from ppcls_compress.errors import ConfigError
from ppcls_compress.models import options as family
from ppcls_compress.registry import Registry

_PUBLISHED = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/legendary_models/{}_pretrained.pdparams"
_WIDTHS = {
    "MobileNetV3": (0.35, 0.5, 0.75, 1.0, 1.25),
    "PPLCNet": (0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5),
}
_VISION = (
    "LeNet",
    "alexnet",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "densenet264",
    "googlenet",
    "inception_v3",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext50_64x4d",
    "resnext101_32x4d",
    "resnext101_64x4d",
    "resnext152_32x4d",
    "resnext152_64x4d",
    "shufflenet_v2_swish",
    "shufflenet_v2_x0_25",
    "shufflenet_v2_x0_33",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "squeezenet1_0",
    "squeezenet1_1",
    "wide_resnet50_2",
    "wide_resnet101_2",
)


@dataclass(frozen=True)
class Arch:
    """One backbone.

    Attributes:
        module: module of `ppcls_compress.models` that holds the factory.
        factory: class or function that takes `arguments` and `options`.
        options: what a config may say.
        url: the published ImageNet weights, where there are any.
    """

    module: str
    factory: str
    options: type[family.ArchOptions]
    arguments: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    url: str | None = None


_ARCHS: Registry[Arch] = Registry("architecture")


def _register(name: str, arch: Arch) -> None:
    _ARCHS.register(name)(arch)


def _register_resnets() -> None:
    for depth in (18, 34, 50, 101, 152, 200):
        options = family.ResNetOptions if depth >= 50 else family.BasicResNetOptions
        for suffix, vd in (("", False), ("_vd", True)):
            name = f"ResNet{depth}{suffix}"
            url = None if name == "ResNet200" else _PUBLISHED.format(name)
            _register(name, Arch("resnet", "ResNet", options, {"depth": depth, "vd": vd}, url))
    stride1 = Arch("resnet", "ResNet", family.LastStageStride1Options, {"depth": 50}, _PUBLISHED.format("ResNet50"))
    _register("ResNet50_last_stage_stride1", stride1)
    for depth in (8, 20, 32, 44, 56, 110):
        arch = Arch("cifar_resnet", "CIFARResNet", family.CIFARResNetOptions, {"depth": depth})
        _register(f"CIFARResNet{depth}", arch)


def _width(scale: float) -> str:
    return f"x{scale}".replace(".", "_")


def _register_mobile_networks() -> None:
    for size in ("small", "large"):
        for scale in _WIDTHS["MobileNetV3"]:
            name = f"MobileNetV3_{size}_{_width(scale)}"
            arguments = {"size": size, "scale": scale}
            url = _PUBLISHED.format(name)
            _register(name, Arch("mobilenet_v3", "MobileNetV3", family.MobileNetV3Options, arguments, url))
    for scale in _WIDTHS["PPLCNet"]:
        name = f"PPLCNet_{_width(scale)}"
        url = _PUBLISHED.format(name)
        _register(name, Arch("pplcnet", "PPLCNet", family.PPLCNetOptions, {"scale": scale}, url))
    _register("CIFARMobileNetV3", Arch("cifar_mobilenet_v3", "CIFARMobileNetV3", family.CIFARMobileNetV3Options))


def _register_pphgnets() -> None:
    for size in ("tiny", "small", "base"):
        options = family.PPHGNetBaseOptions if size == "base" else family.PPHGNetOptions
        # Of the base network only the distilled weights are published.
        url = _PUBLISHED.format(f"PPHGNet_{size}" + ("_ssld" if size == "base" else ""))
        _register(f"PPHGNet_{size}", Arch("pphgnet", "PPHGNet", options, {"size": size}, url))


def _register_paddle_vision() -> None:
    scaled = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large")
    vgg = ("vgg11", "vgg13", "vgg16", "vgg19")
    kinds = dict.fromkeys(_VISION, family.ArchOptions)
    kinds |= dict.fromkeys(scaled, family.ScaledOptions) | dict.fromkeys(vgg, family.VGGOptions)
    for name, options in kinds.items():
        _register(name, Arch("vision", "create", options, {"name": name}))


_register_resnets()
_register_mobile_networks()
_register_pphgnets()
_register_paddle_vision()


def names() -> list[str]:
    """Every architecture, in alphabetical order."""
    return sorted(_ARCHS)


def get(name: str, *, where: str = "Arch") -> Arch:
    """The entry of one architecture.

    Raises:
        ConfigError: no such name; `where` is the config section to blame.
    """
    return _ARCHS.get(name, where=f"{where}.name")


def parse(name: str, options: Mapping[str, object], *, where: str = "Arch") -> family.ArchOptions:
    """The validated options of an architecture, defaults filled in.

    Raises:
        ConfigError: an unknown name or option, a value of the wrong type or out of range; one line, starting with
            the key's path under `where`.
    """
    kind = get(name, where=where).options
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        raise ConfigError(_explain(error, kind, where)) from error


def _explain(error: ValidationError, kind: type[family.ArchOptions], where: str) -> str:
    problem = error.errors(include_url=False)[0]
    keys = [str(part) for part in problem["loc"] if isinstance(part, int) or part in kind.model_fields]
    found = "" if problem["type"] == "unknown_key" else f", found {problem['input']!r}"
    text = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    return f"{'.'.join([where, *keys])}: {text}{found}"


def check(name: str, options: Mapping[str, object], where: str = "Arch") -> None:
    """Refuse an unknown architecture or an option that it cannot take; raises as `parse` does."""
    parse(name, options, where=where)

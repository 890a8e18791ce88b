"""What a declared backbone is, and the kinds of value that options have; Paddle-free.

Names and defaults of options are PaddleClas'. Every option has its effect in the family's own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field, PlainValidator

from ppcls_compress.declare import Number, Options

Count = Annotated[int, Field(ge=1)]
Probability = Annotated[Number, Field(ge=0, lt=1)]
RateFactors = tuple[Annotated[Number, Field(ge=0)], ...]
FiveFactors = Annotated[RateFactors, Field(min_length=5, max_length=5)]


def _one_or_two_steps(value: object) -> int | tuple[int, int]:
    steps = value if isinstance(value, list | tuple) else (value, value)
    if len(steps) != 2 or not all(type(step) is int and 1 <= step <= 4 for step in steps):
        raise ValueError("expected a number from 1 to 4, or two of them, for the height and the width")
    return value if isinstance(value, int) else tuple(steps)


Stride = Annotated[int | tuple[int, int], PlainValidator(_one_or_two_steps)]
Strides = Annotated[tuple[Stride, ...], Field(min_length=5, max_length=5)]

_HOST = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph"


class ArchOptions(Options):
    """What every backbone takes.

    Attributes:
        has_gates: whether it has gates that `Global.train_mode: metabin` trains.
        class_num: width of the classifier.
        pretrained: True for the published weights, or a path or URL of weights.
        use_ssld: with `pretrained: True`, the weights of PaddleClas' SSLD distillation.
    """

    has_gates: ClassVar[bool] = False

    class_num: Count = 1000
    pretrained: bool | str = False
    use_ssld: bool = False

    def networks(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """The networks that this one is put together from: name and options by the key that describes each."""
        return {}


@dataclass(frozen=True)
class Arch:
    """One backbone.

    Attributes:
        name: what a config calls it.
        module: module of `ppcls_compress.models` that holds the factory.
        factory: class or function that takes `arguments` and `options`.
        options: what a config may say.
        arguments: what makes this one of its family.
        url: the published ImageNet weights, where there are any.
        backbone: whether it is a network by itself that gives `class_num` logits, as most do.
    """

    name: str
    module: str
    factory: str
    options: type[ArchOptions] = ArchOptions
    arguments: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    url: str | None = None
    backbone: bool = True


def published(name: str, folder: str = "legendary_models/") -> str:
    """Where PaddleClas publishes the weights called `name`."""
    return f"{_HOST}/{folder}{name}_pretrained.pdparams"


def width(scale: float) -> str:
    """How names tell a width factor: 0.25 is `x0_25`."""
    return f"x{scale}".replace(".", "_")

"""The networks of `paddle.vision.models`, under their own names; where their weights are, Paddle knows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ppcls_compress.declare import Number
from ppcls_compress.models.families.base import Arch, ArchOptions


class ScaledOptions(ArchOptions):
    """A MobileNet of `paddle.vision.models`.

    Attributes:
        scale: width factor.
    """

    scale: Annotated[Number, Field(gt=0, le=8)] = 1.0


class VGGOptions(ArchOptions):
    """A VGG of `paddle.vision.models`.

    Attributes:
        batch_norm: batch normalization after every convolution.
    """

    batch_norm: bool = False


_PLAIN = (
    "LeNet",
    "alexnet",
    *(f"densenet{depth}" for depth in (121, 161, 169, 201, 264)),
    "googlenet",
    "inception_v3",
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *(f"resnext{depth}_{groups}x4d" for depth in (50, 101, 152) for groups in (32, 64)),
    *(f"shufflenet_v2_{kind}" for kind in ("swish", "x0_25", "x0_33", "x0_5", "x1_0", "x1_5", "x2_0")),
    *(f"squeezenet1_{minor}" for minor in (0, 1)),
    *(f"wide_resnet{depth}_2" for depth in (50, 101)),
)
_SCALED = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large")
_VGG = ("vgg11", "vgg13", "vgg16", "vgg19")
_KINDS = dict.fromkeys(_PLAIN, ArchOptions) | dict.fromkeys(_SCALED, ScaledOptions) | dict.fromkeys(_VGG, VGGOptions)

ARCHS = tuple(Arch(name, "vision", "create", options, {"name": name}) for name, options in _KINDS.items())

"""PP-LCNet."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ppcls_compress.models.families.base import (
    Arch,
    ArchOptions,
    Count,
    Probability,
    RateFactors,
    Strides,
    published,
    width,
)


class PPLCNetOptions(ArchOptions):
    """PP-LCNet.

    Attributes:
        class_expand: features before the classifier, with `use_last_conv`.
        dropout_prob: dropout before the classifier, with `use_last_conv`.
        lr_mult_list: learning rate factors of the stem and the five stages; the classifier's is 1.
        stride_list: strides of the stem and of stages three to six.
        use_last_conv: widen the pooled features to `class_expand` before the classifier.
        act: activation throughout.
    """

    class_expand: Count = 1280
    dropout_prob: Probability = 0.2
    lr_mult_list: Annotated[RateFactors, Field(min_length=6, max_length=6)] = (1.0,) * 6
    stride_list: Strides = (2,) * 5
    use_last_conv: bool = True
    act: Literal["hardswish", "relu", "relu6"] = "hardswish"


def _arch(scale: float) -> Arch:
    name = f"PPLCNet_{width(scale)}"
    return Arch(name, "pplcnet", "PPLCNet", PPLCNetOptions, {"scale": scale}, published(name))


_TANH = {"scale": 2.5, "tanh": True}
ARCHS = (
    *(_arch(scale) for scale in (0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5)),
    Arch("PPLCNet_x2_5_Tanh", "pplcnet", "PPLCNet", PPLCNetOptions, _TANH, published("PPLCNet_x2_5")),
)

"""ResNet and ResNet_vd."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from ppcls_compress.declare import Number
from ppcls_compress.models.families.base import Arch, ArchOptions, Count, FiveFactors, Strides, published


class ResNetOptions(ArchOptions):
    """ResNet and ResNet_vd.

    Attributes:
        lr_mult_list: learning rate factors of the stem and the four stages; the classifier's is 1.
        stride_list: strides of the stem, its pooling, and stages two to four.
        data_format: layout inside the network; the input is [N, C, H, W] either way.
        input_image_channel: channels of the input image.
        stem_act: activation of the stem's convolutions, or null.
        use_first_short_conv: give the very first block a projection shortcut, which bottlenecks need.
        layer_type: what the blocks are made of; `DiverseBranchBlock` merges into plain convolutions when deployed.
    """

    lr_mult_list: FiveFactors = (1.0,) * 5
    stride_list: Strides = (2,) * 5
    data_format: Literal["NCHW", "NHWC"] = "NCHW"
    input_image_channel: Count = 3
    stem_act: Literal["relu"] | None = "relu"
    use_first_short_conv: Literal[True] = True
    layer_type: Literal["ConvBNLayer"] = "ConvBNLayer"


class BasicResNetOptions(ResNetOptions):
    """ResNet18 and 34, where the very first block's input has the shape of its output already."""

    use_first_short_conv: bool = True
    layer_type: Literal["ConvBNLayer", "DiverseBranchBlock"] = "ConvBNLayer"

    @model_validator(mode="after")
    def _one_layout(self) -> BasicResNetOptions:
        if self.layer_type == "DiverseBranchBlock" and self.data_format != "NCHW":
            raise ValueError("layer_type DiverseBranchBlock is for data_format NCHW only")
        return self


def _ends_in_one(strides: tuple[int, ...]) -> tuple[int, ...]:
    if strides[-1] != 1:
        raise ValueError("the last stride of this network is 1")
    return strides


class LastStageStride1Options(ResNetOptions):
    """ResNet whose last stage keeps the size of its input."""

    stride_list: Annotated[Strides, AfterValidator(_ends_in_one)] = (2, 2, 2, 2, 1)


class MetaBINOptions(LastStageStride1Options):
    """ResNet with gates between batch and instance norms.

    Attributes:
        bias_lr_factor: factor on the learning rate of biases.
        gate_lr_factor: factor on that of gates.
    """

    has_gates: ClassVar[bool] = True

    data_format: Literal["NCHW"] = "NCHW"
    bias_lr_factor: Annotated[Number, Field(ge=0)] = 1.0
    gate_lr_factor: Annotated[Number, Field(ge=0)] = 1.0


class MaxPoolOptions(ResNetOptions):
    """ResNet whose features are largest values, which Paddle finds in one layout only."""

    data_format: Literal["NCHW"] = "NCHW"


def _arch(depth: int, *, vd: bool) -> Arch:
    name = f"ResNet{depth}{'_vd' if vd else ''}"
    options = ResNetOptions if depth >= 50 else BasicResNetOptions
    url = None if name == "ResNet200" else published(name)
    return Arch(name, "resnet", "ResNet", options, {"depth": depth, "vd": vd}, url)


def _variant(name: str, options: type[ResNetOptions], **arguments: object) -> Arch:
    return Arch(f"ResNet50_{name}", "resnet", "ResNet", options, {"depth": 50, **arguments}, published("ResNet50"))


ARCHS = (
    *(_arch(depth, vd=vd) for depth in (18, 34, 50, 101, 152, 200) for vd in (False, True)),
    _variant("last_stage_stride1", LastStageStride1Options),
    _variant("adaptive_max_pool2d", MaxPoolOptions, max_pool=True),
    Arch("ResNet50_metabin", "metabin", "resnet", MetaBINOptions, {"depth": 50}),
)

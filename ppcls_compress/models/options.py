"""What a config's `Arch` section may say of each backbone family; Paddle-free.

Names and defaults are PaddleClas'. Every option has its effect in the family's own file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ppcls_compress.config.base import Number, Options

Count = Annotated[int, Field(ge=1)]
Probability = Annotated[Number, Field(ge=0, lt=1)]
RateFactors = tuple[Annotated[Number, Field(ge=0)], ...]
Strides = Annotated[tuple[Annotated[int, Field(ge=1, le=4)], ...], Field(min_length=5, max_length=5)]


class ArchOptions(Options):
    """What every backbone takes.

    Attributes:
        class_num: width of the classifier.
        pretrained: True for the published weights, or a path or URL of weights.
        use_ssld: with `pretrained: True`, the weights of PaddleClas' SSLD distillation.
    """

    class_num: Count = 1000
    pretrained: bool | str = False
    use_ssld: bool = False


class ResNetOptions(ArchOptions):
    """ResNet and ResNet_vd.

    Attributes:
        lr_mult_list: learning rate factors of the stem and the four stages; the classifier's is 1.
        stride_list: strides of the stem, its pooling, and stages two to four.
        data_format: layout inside the network; the input is [N, C, H, W] either way.
        input_image_channel: channels of the input image.
        stem_act: activation of the stem's convolutions, or null.
        use_first_short_conv: give the very first block a projection shortcut, which bottlenecks need.
    """

    lr_mult_list: Annotated[RateFactors, Field(min_length=5, max_length=5)] = (1.0,) * 5
    stride_list: Strides = (2,) * 5
    data_format: Literal["NCHW", "NHWC"] = "NCHW"
    input_image_channel: Count = 3
    stem_act: Literal["relu"] | None = "relu"
    use_first_short_conv: Literal[True] = True


class BasicResNetOptions(ResNetOptions):
    """ResNet18 and 34, where the very first block's input has the shape of its output already."""

    use_first_short_conv: bool = True


def _ends_in_one(strides: tuple[int, ...]) -> tuple[int, ...]:
    if strides[-1] != 1:
        raise ValueError("the last stride of this network is 1")
    return strides


class LastStageStride1Options(ResNetOptions):
    """ResNet whose last stage keeps the size of its input."""

    stride_list: Annotated[Strides, AfterValidator(_ends_in_one)] = (2, 2, 2, 2, 1)


class MobileNetV3Options(ArchOptions):
    """MobileNetV3 small and large.

    Attributes:
        inplanes: channels of the first convolution before the width factor.
        class_expand: features before the classifier.
        dropout_prob: dropout before the classifier.
    """

    inplanes: Count = 16
    class_expand: Count = 1280
    dropout_prob: Probability = 0.2


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


class PPHGNetOptions(ArchOptions):
    """PP-HGNet tiny and small.

    Attributes:
        class_expand: features before the classifier, with `use_last_conv`.
        dropout_prob: dropout before the classifier, with `use_last_conv`.
        use_last_conv: widen the pooled features to `class_expand` before the classifier.
    """

    class_expand: Count = 2048
    dropout_prob: Probability = 0.0
    use_last_conv: bool = True


class PPHGNetBaseOptions(PPHGNetOptions):
    """PP-HGNet base."""

    dropout_prob: Probability = 0.2


class CIFARResNetOptions(ArchOptions):
    """ResNet for 32 x 32 images.

    Attributes:
        input_image_channel: channels of the input image.
    """

    class_num: Count = 10
    input_image_channel: Count = 3


class CIFARMobileNetV3Options(CIFARResNetOptions):
    """A short MobileNetV3 for 32 x 32 images."""


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

"""PP-HGNetV2."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, Count, FiveFactors, Probability, published


class PPHGNetV2Options(ArchOptions):
    """PP-HGNetV2.

    Attributes:
        class_expand: features before the classifier, with `use_last_conv`.
        dropout_prob: dropout before the classifier, with `use_last_conv`.
        use_last_conv: widen the pooled features to `class_expand` before the classifier.
        lr_mult_list: learning rate factors of the stem and the four stages; the classifier's is 1.
    """

    class_expand: Count = 2048
    dropout_prob: Probability = 0.0
    use_last_conv: bool = True
    lr_mult_list: FiveFactors = (1.0,) * 5


def _arch(size: str) -> Arch:
    name = f"PPHGNetV2_{size}"
    # The weights that PaddleClas starts from are those of the first stage of distillation.
    return Arch(name, "pphgnet_v2", "PPHGNetV2", PPHGNetV2Options, {"size": size}, published(f"{name}_ssld_stage1"))


ARCHS = tuple(_arch(f"B{index}") for index in range(7))

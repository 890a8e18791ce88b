"""PP-HGNet."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, Count, Probability, published


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


def _arch(size: str, options: type[PPHGNetOptions], weights: str) -> Arch:
    return Arch(f"PPHGNet_{size}", "pphgnet", "PPHGNet", options, {"size": size}, published(weights))


ARCHS = (
    _arch("tiny", PPHGNetOptions, "PPHGNet_tiny"),
    _arch("small", PPHGNetOptions, "PPHGNet_small"),
    _arch("base", PPHGNetBaseOptions, "PPHGNet_base_ssld"),  # of it, only the distilled weights are published
)

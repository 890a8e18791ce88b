"""PP-LCNetV2."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, Count, Probability, published


class PPLCNetV2Options(ArchOptions):
    """PP-LCNetV2.

    Attributes:
        class_expand: features before the classifier, with `use_last_conv`.
        dropout_prob: dropout before the classifier, with `use_last_conv`.
        use_last_conv: widen the pooled features to `class_expand` before the classifier.
    """

    class_expand: Count = 1280
    dropout_prob: Probability = 0.2
    use_last_conv: bool = True


def _arch(size: str, scale: float, depths: tuple[int, ...], **arguments: object) -> Arch:
    arguments = {"scale": scale, "depths": depths, **arguments}
    # Of these networks, only the distilled weights are published.
    url = published(f"PPLCNetV2_{size.removesuffix('_ShiTu')}_ssld")
    return Arch(f"PPLCNetV2_{size}", "pplcnet_v2", "PPLCNetV2", PPLCNetV2Options, arguments, url)


ARCHS = (
    _arch("small", 0.75, (2, 2, 4, 2)),
    _arch("base", 1.0, (2, 2, 6, 2)),
    _arch("large", 1.25, (2, 2, 8, 2)),
    _arch("base_ShiTu", 1.0, (2, 2, 6, 2), retrieval=True),
)

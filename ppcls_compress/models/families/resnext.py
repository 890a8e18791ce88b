"""ResNet_vc, ResNeXt, SE_ResNet_vd, SE_ResNeXt, SENet154_vd."""

from __future__ import annotations

from typing import Literal

from ppcls_compress.models.families.base import Arch, ArchOptions, Count, published


class ResNeXtOptions(ArchOptions):
    """All of them.

    Attributes:
        input_image_channel: channels of the input image.
        data_format: layout inside the network; the input is [N, C, H, W] either way.
    """

    input_image_channel: Count = 3
    data_format: Literal["NCHW", "NHWC"] = "NCHW"


def _arch(name: str, depth: int, **arguments: object) -> Arch:
    return Arch(name, "resnext", "ResNeXt", ResNeXtOptions, {"depth": depth, **arguments}, published(name, folder=""))


_SENET = {"se": True, "stem": (64, 64, 128)}
ARCHS = (
    _arch("ResNet50_vc", 50),
    *(_arch(f"SE_ResNet{depth}_vd", depth, se=True, vd=True) for depth in (18, 34, 50)),
    *(
        _arch(f"ResNeXt{depth}_{groups}x4d", depth, groups=groups, stem=(64,))
        for depth in (50, 101, 152)
        for groups in (32, 64)
    ),
    *(
        _arch(f"ResNeXt{depth}_vd_{groups}x4d", depth, groups=groups, vd=True)
        for depth in (50, 101, 152)
        for groups in (32, 64)
    ),
    *(_arch(f"SE_ResNeXt{depth}_32x4d", depth, groups=32, se=True, stem=(64,)) for depth in (50, 101)),
    _arch("SE_ResNeXt152_64x4d", 152, groups=64, **_SENET),
    _arch("SE_ResNeXt50_vd_32x4d", 50, groups=32, vd=True, **_SENET),
    _arch("SENet154_vd", 152, groups=64, vd=True, **_SENET),
)

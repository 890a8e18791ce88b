"""ShuffleNetV2."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, published, width


def _arch(kind: str, scale: float, act: str = "relu") -> Arch:
    name = f"ShuffleNetV2_{kind}"
    arguments = {"scale": scale, "act": act}
    return Arch(name, "shufflenet_v2", "ShuffleNetV2", ArchOptions, arguments, published(name, folder=""))


ARCHS = (*(_arch(width(scale), scale) for scale in (0.25, 0.33, 0.5, 1.0, 1.5, 2.0)), _arch("swish", 1.0, "swish"))

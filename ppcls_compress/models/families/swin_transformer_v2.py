"""Swin Transformer V2."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, Probability, published
from ppcls_compress.models.families.swin_transformer import BaseOptions, SmallOptions, SwinOptions, TinyOptions


class WideOptions(SwinOptions):
    """Swin Transformer V2 that was trained with smaller windows first."""

    drop_path_rate: Probability = 0.2


_DEEP = (2, 2, 18, 2)
_FIRST = (12, 12, 12, 6)


def _arch(
    size: str, options: type[SwinOptions], channels: int, heads: int, window: int, *, first: bool = False
) -> Arch:
    image = 384 if window == 24 else 256
    name = f"SwinTransformerV2_{size}_patch4_window{window}_{image}"
    depths = (2, 2, 6, 2) if size == "tiny" else _DEEP
    arguments = {"channels": channels, "depths": depths, "heads": heads, "window": window, "image": image}
    if first:
        arguments["trained"] = _FIRST
    url = published(name + ("_22kto1k" if first else ""), folder="")
    return Arch(name, "swin_transformer_v2", "SwinTransformerV2", options, arguments, url)


ARCHS = (
    *(_arch("tiny", TinyOptions, 96, 3, window) for window in (8, 16)),
    *(_arch("small", SmallOptions, 96, 3, window) for window in (8, 16)),
    *(_arch("base", BaseOptions, 128, 4, window) for window in (8, 16)),
    _arch("base", WideOptions, 128, 4, 24, first=True),
    *(_arch("large", WideOptions, 192, 6, window, first=True) for window in (16, 24)),
)

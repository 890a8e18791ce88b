"""Swin Transformer."""

from __future__ import annotations

from typing import Literal

from ppcls_compress.models.families.base import Arch, ArchOptions, Probability, published


class SwinOptions(ArchOptions):
    """Swin Transformer large.

    Attributes:
        drop_rate: dropout of the embedded patches and of every layer's output.
        attn_drop_rate: dropout of attention.
        drop_path_rate: of the last block, by which whole images lose its branches in training; earlier ones have less.
        use_fused_attn: not to be had here; it computes the same.
        use_fused_linear: not to be had here; it computes the same.
    """

    drop_rate: Probability = 0.0
    attn_drop_rate: Probability = 0.0
    drop_path_rate: Probability = 0.1
    use_fused_attn: Literal[False] = False
    use_fused_linear: Literal[False] = False


class TinyOptions(SwinOptions):
    """Swin Transformer tiny."""

    drop_path_rate: Probability = 0.2


class SmallOptions(SwinOptions):
    """Swin Transformer small."""

    drop_path_rate: Probability = 0.3


class BaseOptions(SwinOptions):
    """Swin Transformer base."""

    drop_path_rate: Probability = 0.5


def _arch(
    size: str,
    options: type[SwinOptions],
    channels: int,
    depths: tuple[int, ...],
    heads: int,
    *,
    window: int = 7,
    suffix: str = "",
) -> Arch:
    name = f"SwinTransformer_{size}_patch4_window{window}_{224 if window == 7 else 384}"
    arguments = {"channels": channels, "depths": depths, "heads": heads, "window": window}
    return Arch(name, "swin_transformer", "SwinTransformer", options, arguments, published(name + suffix))


_DEEP = (2, 2, 18, 2)
ARCHS = (
    _arch("tiny", TinyOptions, 96, (2, 2, 6, 2), 3),
    _arch("small", SmallOptions, 96, _DEEP, 3),
    *(_arch("base", BaseOptions, 128, _DEEP, 4, window=window) for window in (7, 12)),
    # Of the large ones, the weights that began with ImageNet-22k are published.
    *(_arch("large", SwinOptions, 192, _DEEP, 6, window=window, suffix="_22kto1k") for window in (7, 12)),
)

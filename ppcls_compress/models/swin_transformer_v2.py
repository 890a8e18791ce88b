"""Swin Transformer V2 (Liu et al. 2022, arXiv:2111.09883): attention by cosines, each branch normalized at its end."""

from __future__ import annotations

import math

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from ppcls_compress.models.families.swin_transformer import SwinOptions
from ppcls_compress.models.layers import DropPath
from ppcls_compress.models.swin_transformer import (
    Mlp,
    Rates,
    SwinStages,
    attended,
    distances,
    initialised_linear,
    neighbours,
)

_LARGEST_SCALE = math.log(100.0)
_HIDDEN = 512


class CosineAttention(nn.Layer):
    """Attention of all positions in a window to each other; a small network makes the bias of each distance.

    Args:
        trained: the window that the small network was trained for, whose distances it knows; 0 for this one.
    """

    def __init__(self, channels: int, size: int, heads: int, *, trained: int, rates: Rates) -> None:
        super().__init__()
        self.heads = heads
        scale = nn.initializer.Constant(math.log(10.0))
        self.logit_scale = self.create_parameter([heads, 1, 1], default_initializer=scale)
        self.cpb_mlp = nn.Sequential(
            initialised_linear(2, _HIDDEN), nn.ReLU(), initialised_linear(_HIDDEN, heads, bias=False)
        )
        self.register_buffer("relative_coords_table", paddle.to_tensor(distance_table(size, trained or size)))
        self.register_buffer("relative_position_index", paddle.to_tensor(distances(size)))
        self.qkv = initialised_linear(channels, 3 * channels, bias=False)
        zero = nn.initializer.Constant(0.0)
        self.q_bias = self.create_parameter([channels], default_initializer=zero)
        self.v_bias = self.create_parameter([channels], default_initializer=zero)
        self.attn_drop = nn.Dropout(rates.attention)
        self.proj = initialised_linear(channels, channels)
        self.proj_drop = nn.Dropout(rates.drop)
        self.softmax = nn.Softmax(axis=-1)

    def projected(self, x: Tensor) -> Tensor:
        """[..., C] -> queries, keys and values, [..., 3 C].

        This is done before windows are made: Paddle's runtime fuses a reshape into a linear layer behind it, and errs
        where the map had six axes.
        """
        return self.qkv(x) + paddle.concat([self.q_bias, paddle.zeros_like(self.v_bias), self.v_bias])

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Queries, keys and values [N * windows, L, 3 C] and a mask [windows, L, L] -> [N * windows, L, C]."""
        length, channels = x.shape[1], x.shape[2] // 3
        parts = paddle.reshape(x, [-1, length, 3, self.heads, channels // self.heads])
        query, key, value = paddle.unstack(paddle.transpose(parts, [2, 0, 3, 1, 4]), axis=0, num=3)
        scores = paddle.matmul(F.normalize(query, axis=-1), F.normalize(key, axis=-1), transpose_y=True)
        scores = scores * paddle.clip(self.logit_scale, max=_LARGEST_SCALE).exp() + self._bias(length)
        if mask is not None:
            windows = mask.shape[0]
            scores = paddle.reshape(scores, [-1, windows, self.heads, length, length])
            scores = scores + paddle.unsqueeze(mask, axis=[0, 2])
            scores = paddle.reshape(scores, [-1, self.heads, length, length])
        y = paddle.matmul(self.attn_drop(self.softmax(scores)), value)
        y = paddle.reshape(paddle.transpose(y, [0, 2, 1, 3]), [-1, length, channels])
        return self.proj_drop(self.proj(y))

    def _bias(self, length: int) -> Tensor:
        """[1, heads, L, L], between 0 and 16."""
        table = paddle.reshape(self.cpb_mlp(self.relative_coords_table), [-1, self.heads])
        index = paddle.flatten(self.relative_position_index)
        bias = paddle.reshape(paddle.index_select(table, index), [length, length, -1])
        return 16 * F.sigmoid(paddle.unsqueeze(paddle.transpose(bias, [2, 0, 1]), axis=0))


def distance_table(size: int, trained: int) -> np.ndarray:
    """[1, 2 size - 1, 2 size - 1, 2]: rows and columns apart, of 8 in a window of `trained`, on a logarithmic scale."""
    apart = np.stack(np.meshgrid(*[np.arange(1 - size, size, dtype=np.float64)] * 2, indexing="ij"), axis=-1)
    apart = 8 * apart / (trained - 1)
    return (np.sign(apart) * np.log2(np.abs(apart) + 1) / np.log2(8))[None].astype("float32")


class SwinV2Block(nn.Layer):
    """Attention in windows, then an MLP; the result of each is normalized and added."""

    def __init__(self, channels: int, size: int, heads: int, *, shift: int, trained: int, rates: Rates) -> None:
        super().__init__()
        self.size, self.shift = size, shift
        self.norm1 = nn.LayerNorm(channels)
        self.attn = CosineAttention(channels, size, heads, trained=trained, rates=rates)
        self.drop_path = DropPath(rates.path)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, rates.drop)

    def forward(self, x: Tensor) -> Tensor:
        """[N, H, W, C] -> the same shape."""
        x = x + self.drop_path(self.norm1(attended(self.attn, x, self.size, self.shift, self.attn.projected)))
        return x + self.drop_path(self.norm2(self.mlp(x)))


class PatchMergingV2(nn.Layer):
    """Four neighbours become one position of twice the channels, normalized after the reduction."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = initialised_linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, H, W, C] -> [N, H / 2, W / 2, 2 C]."""
        return self.norm(self.reduction(neighbours(x)))


class SwinTransformerV2(SwinStages):
    """Swin Transformer V2.

    Args:
        channels: after the patches are embedded; each stage has twice as many.
        depths: blocks in each of the four stages.
        heads: of attention, in the first stage; each next one has twice as many.
        window: height and width of a window, or of the whole map where that is smaller; it is not shifted then.
        image: height and width of the images that it is made for.
        trained: the windows of each stage that the weights were first trained with; 0 for the same ones.
        options: what the config's `Arch` section says.
    """

    unused_weights = ("*.attn_mask",)
    """Names that files of PaddleClas may have beside this network's: constants that it makes itself."""

    def __init__(
        self,
        channels: int,
        depths: tuple[int, ...],
        heads: int,
        window: int,
        *,
        image: int,
        trained: tuple[int, ...] = (0, 0, 0, 0),
        options: SwinOptions | None = None,
    ) -> None:
        def block(stage: int, number: int, width: int, rates: Rates) -> SwinV2Block:
            resolution = image // 4 // 2**stage
            return SwinV2Block(
                width,
                min(window, resolution),
                heads * 2**stage,
                shift=window // 2 if number % 2 and resolution > window else 0,
                trained=trained[stage],
                rates=rates,
            )

        super().__init__(channels, depths, block=block, merging=PatchMergingV2, options=options or SwinOptions())

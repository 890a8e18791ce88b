"""Swin Transformer (Liu et al. 2021): attention within windows, which are shifted in every second block."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import paddle
from paddle import ParamAttr, Tensor, nn
from paddle.nn import functional as F

from ppcls_compress.models.families.swin_transformer import SwinOptions
from ppcls_compress.models.layers import DropPath

_PATCH = 4
_MASKED = -100.0


class Rates(NamedTuple):
    """Dropout of layers' outputs, of attention, and of whole branches."""

    drop: float
    attention: float
    path: float


def _init() -> ParamAttr:
    return ParamAttr(initializer=nn.initializer.TruncatedNormal(std=0.02))


def initialised_linear(in_features: int, out_features: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer as transformers start with it: weights of deviation 0.02, biases of zero."""
    bias_attr = ParamAttr(initializer=nn.initializer.Constant(0.0)) if bias else False
    return nn.Linear(in_features, out_features, weight_attr=_init(), bias_attr=bias_attr)


def pad_to(x: Tensor, size: int) -> Tensor:
    """[N, H, W, C] with zeros at the bottom and the right, so that both sides are multiples of `size`.

    As PaddleClas has it, both grow if one has to: one that is a multiple already by `size`.
    """
    _, height, width, _ = x.shape
    if height % size == 0 and width % size == 0:
        return x
    return F.pad(x, [0, 0, 0, size - height % size, 0, size - width % size, 0, 0])


def split_windows(x: Tensor, size: int) -> Tensor:
    """[N, H, W, C] -> [N * windows, size * size, C]."""
    _, height, width, channels = x.shape
    x = paddle.reshape(x, [-1, height // size, size, width // size, size, channels])
    return paddle.reshape(paddle.transpose(x, [0, 1, 3, 2, 4, 5]), [-1, size * size, channels])


def join_windows(windows: Tensor, size: int, height: int, width: int) -> Tensor:
    """What `split_windows` was made of: [N * windows, size * size, C] -> [N, height, width, C]."""
    channels = windows.shape[-1]
    x = paddle.reshape(windows, [-1, height // size, width // size, size, size, channels])
    return paddle.reshape(paddle.transpose(x, [0, 1, 3, 2, 4, 5]), [-1, height, width, channels])


def shift_mask(height: int, width: int, size: int, shift: int) -> np.ndarray:
    """[windows, size * size, size * size]: -100 between positions of a shifted map that were not neighbours, else 0."""

    def regions(length: int) -> np.ndarray:
        position = np.arange(length)
        return (position >= length - size).astype(int) + (position >= length - shift)

    region = regions(height)[:, None] * 3 + regions(width)
    region = region.reshape(height // size, size, width // size, size).transpose(0, 2, 1, 3).reshape(-1, size * size)
    return np.where(region[:, None] == region[:, :, None], 0.0, _MASKED).astype("float32")


class WindowAttention(nn.Layer):
    """Attention of all positions in a window to each other, with a learned bias for each distance."""

    def __init__(self, channels: int, size: int, heads: int, rates: Rates) -> None:
        super().__init__()
        self.heads, self.scale = heads, (channels // heads) ** -0.5
        self.relative_position_bias_table = self.create_parameter([(2 * size - 1) ** 2, heads], attr=_init())
        self.register_buffer("relative_position_index", paddle.to_tensor(distances(size)))
        self.qkv = initialised_linear(channels, 3 * channels)
        self.attn_drop = nn.Dropout(rates.attention)
        self.proj = initialised_linear(channels, channels)
        self.proj_drop = nn.Dropout(rates.drop)
        self.softmax = nn.Softmax(axis=-1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[N * windows, L, C] and a mask [windows, L, L] -> [N * windows, L, C]."""
        _, length, channels = x.shape
        parts = paddle.reshape(self.qkv(x), [-1, length, 3, self.heads, channels // self.heads])
        query, key, value = paddle.unstack(paddle.transpose(parts, [2, 0, 3, 1, 4]), axis=0, num=3)
        scores = paddle.matmul(query * self.scale, key, transpose_y=True) + self._bias(length)
        if mask is not None:
            windows = mask.shape[0]
            scores = paddle.reshape(scores, [-1, windows, self.heads, length, length])
            scores = scores + paddle.unsqueeze(mask, axis=[0, 2])
            scores = paddle.reshape(scores, [-1, self.heads, length, length])
        y = paddle.matmul(self.attn_drop(self.softmax(scores)), value)
        y = paddle.reshape(paddle.transpose(y, [0, 2, 1, 3]), [-1, length, channels])
        return self.proj_drop(self.proj(y))

    def _bias(self, length: int) -> Tensor:
        """[1, heads, L, L]."""
        index = paddle.flatten(self.relative_position_index)
        bias = paddle.reshape(paddle.index_select(self.relative_position_bias_table, index), [length, length, -1])
        return paddle.unsqueeze(paddle.transpose(bias, [2, 0, 1]), axis=0)


def distances(size: int) -> np.ndarray:
    """[L, L]: which row of the bias table belongs to each pair of positions."""
    rows, columns = (axis.reshape(-1) for axis in np.indices((size, size)))
    down, right = (axis[:, None] - axis + size - 1 for axis in (rows, columns))
    return down * (2 * size - 1) + right


class Mlp(nn.Layer):
    """Four times as wide in the middle."""

    def __init__(self, channels: int, drop: float) -> None:
        super().__init__()
        self.fc1 = initialised_linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.fc2 = initialised_linear(4 * channels, channels)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> the same shape."""
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class SwinBlock(nn.Layer):
    """Attention in windows, then an MLP; each normalizes its input and adds to it.

    As in PaddleClas, windows are shifted even where one covers the whole map.
    """

    def __init__(self, channels: int, size: int, heads: int, *, shift: int, rates: Rates) -> None:
        super().__init__()
        self.size, self.shift = size, shift
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, size, heads, rates)
        self.drop_path = DropPath(rates.path)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, rates.drop)

    def forward(self, x: Tensor) -> Tensor:
        """[N, H, W, C] -> the same shape."""
        x = x + self.drop_path(self._attended(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attended(self, x: Tensor) -> Tensor:
        return attended(self.attn, x, self.size, self.shift)


def attended(
    attn: Callable[[Tensor, Tensor | None], Tensor],
    x: Tensor,
    size: int,
    shift: int,
    project: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Attention within the windows of a map [N, H, W, C] that is shifted before, and back after it.

    Args:
        attn: windows [N * windows, L, C] and a mask [windows, L, L] or None to windows.
        project: from the padded map to that of which windows are made; None where `attn` does that itself.
    """
    _, height, width, _ = x.shape
    x = pad_to(x, size)
    if project is not None:
        x = project(x)
    _, padded_height, padded_width, _ = x.shape
    mask = None
    if shift > 0:
        mask = paddle.to_tensor(shift_mask(padded_height, padded_width, size, shift))
        x = paddle.roll(x, [-shift, -shift], axis=[1, 2])
    x = join_windows(attn(split_windows(x, size), mask), size, padded_height, padded_width)
    if shift > 0:
        x = paddle.roll(x, [shift, shift], axis=[1, 2])
    return x[:, :height, :width]


def neighbours(x: Tensor) -> Tensor:
    """[N, H, W, C] -> [N, H / 2, W / 2, 4 C]: those of two rows and columns side by side, padded to even sizes."""
    _, height, width, _ = x.shape
    if height % 2 or width % 2:
        x = F.pad(x, [0, 0, 0, height % 2, 0, width % 2, 0, 0])
    return paddle.concat([x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], axis=-1)


class PatchMerging(nn.Layer):
    """Four neighbours become one position of twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = initialised_linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, H, W, C] -> [N, H / 2, W / 2, 2 C]."""
        return self.reduction(self.norm(neighbours(x)))


class Stage(nn.Layer):
    """Blocks, and half the height and width after them but for the last stage."""

    def __init__(self, blocks: list[SwinBlock], downsample: nn.Layer) -> None:
        super().__init__()
        self.blocks = nn.LayerList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """[N, H, W, C] -> [N, H / 2, W / 2, 2 C], or the same shape in the last stage."""
        for block in self.blocks:
            x = block(x)
        return self.downsample(x)


class PatchEmbedding(nn.Layer):
    """Each patch of 4 x 4 pixels becomes one position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2D(3, channels, _PATCH, stride=_PATCH)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, H / 4, W / 4, C]."""
        x = paddle.transpose(pad_to(paddle.transpose(x, [0, 2, 3, 1]), _PATCH), [0, 3, 1, 2])
        return self.norm(paddle.transpose(self.proj(x), [0, 2, 3, 1]))


class SwinStages(nn.Layer):
    """What every Swin Transformer is: embedded patches, stages of blocks that are merged in between, and a head.

    Args:
        channels: after the patches are embedded; each stage has twice as many.
        depths: blocks in each of the stages.
        block: makes a block, from its stage, its number there, its channels and its rates.
        merging: makes what stands at the end of a stage that another one follows, from the channels.
        options: what the config's `Arch` section says.
    """

    def __init__(
        self,
        channels: int,
        depths: tuple[int, ...],
        *,
        block: Callable[[int, int, int, Rates], nn.Layer],
        merging: Callable[[int], nn.Layer],
        options: SwinOptions,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(channels)
        self.pos_drop = nn.Dropout(options.drop_rate)
        paths = iter(np.linspace(0, options.drop_path_rate, sum(depths)).tolist())
        stages = []
        for index, depth in enumerate(depths):
            rates = [Rates(options.drop_rate, options.attn_drop_rate, next(paths)) for _ in range(depth)]
            blocks = [block(index, number, channels, each) for number, each in enumerate(rates)]
            last = index == len(depths) - 1
            stages.append(Stage(blocks, nn.Identity() if last else merging(channels)))
            channels = channels if last else 2 * channels
        self.layers = nn.LayerList(stages)
        self.norm = nn.LayerNorm(channels)
        self.head = initialised_linear(channels, options.class_num)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self.pos_drop(self.patch_embed(x))
        for stage in self.layers:
            x = stage(x)
        return self.head(paddle.mean(self.norm(x), axis=[1, 2]))


class SwinTransformer(SwinStages):
    """Swin Transformer.

    Args:
        channels: after the patches are embedded; each stage has twice as many.
        depths: blocks in each of the four stages.
        heads: of attention, in the first stage; each next one has twice as many.
        window: height and width of a window.
        options: what the config's `Arch` section says.
    """

    unused_weights = ("*.attn_mask", "*.relative_position_bias")
    """Names that files of PaddleClas may have beside this network's: constants that it makes itself."""

    def __init__(
        self,
        channels: int,
        depths: tuple[int, ...],
        heads: int,
        window: int,
        *,
        options: SwinOptions | None = None,
    ) -> None:
        def block(stage: int, number: int, width: int, rates: Rates) -> SwinBlock:
            return SwinBlock(width, window, heads * 2**stage, shift=window // 2 if number % 2 else 0, rates=rates)

        super().__init__(channels, depths, block=block, merging=PatchMerging, options=options or SwinOptions())

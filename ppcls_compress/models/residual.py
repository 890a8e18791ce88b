"""What residual networks share: their depths, the block, and the trunk of those with PaddleClas' older names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import paddle
from paddle import Tensor, nn

from ppcls_compress.models.layers import OlderConvNormAct, linear

DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 12, 48, 3),
}
"""Blocks in each of the four stages; from 50 on the blocks are bottlenecks."""


class ResidualBlock(nn.Layer):
    """relu(branch(x) + short(pool(x))).

    Args:
        branch: layers by name, each reads what the one before it gives.
        short: the projection, or an identity.
        pool: what carries the stride on the shortcut's side, where `short` does not.
        short_name: what the shortcut is called.
    """

    def __init__(
        self,
        branch: Mapping[str, nn.Layer],
        short: nn.Layer,
        pool: nn.Layer | None = None,
        *,
        short_name: str = "short",
    ) -> None:
        super().__init__()
        self.branch = tuple(branch)
        for name, layer in branch.items():
            self.add_sublayer(name, layer)
        self.short_name = short_name
        self.add_sublayer(short_name, short)
        self.pool = pool or nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        y = x
        for name in self.branch:
            y = getattr(self, name)(y)
        return self.relu(y + getattr(self, self.short_name)(self.pool(x)))


def pooled(stride: int | tuple[int, int], data_format: str = "NCHW") -> nn.AvgPool2D:
    """The pooling of ResNet_vd's shortcuts (He et al. 2019), which skips no position as a strided 1 x 1 kernel does."""
    return nn.AvgPool2D(2, stride=stride, padding="SAME", ceil_mode=True, data_format=data_format)


class Place(NamedTuple):
    """Where a block is: its name in the trunk, stage and index in it, the channels of its input, its stride."""

    name: str
    stage: int
    index: int
    in_channels: int
    stride: int


def places(depth: int, channels: int, outs: tuple[int, ...]) -> Iterator[Place]:
    """Every block of a network with `channels` after the stem and `outs` after each stage."""
    for stage, (blocks, out) in enumerate(zip(DEPTHS[depth], outs, strict=True)):
        for index in range(blocks):
            yield Place(f"bb_{stage}_{index}", stage, index, channels, 2 if index == 0 and stage > 0 else 1)
            channels = out


def projection(place: Place, out: int, *, vd: bool, **common: Any) -> tuple[nn.Layer, nn.Layer]:
    """What a stage's first block has on the side of its shortcut: the projection, and the pooling before it."""
    if vd and place.stage > 0:
        return OlderConvNormAct(place.in_channels, out, 1, act=None, **common), pooled(place.stride, **common)
    return OlderConvNormAct(place.in_channels, out, 1, stride=place.stride, act=None, **common), nn.Identity()


class ResidualTrunk(nn.Layer):
    """Stem, max pooling, blocks, average pooling, classifier.

    Args:
        stem: convolutions by name, with half the height and width after the last.
        blocks: by name.
        features: channels after the last block.
        data_format: layout inside the network; the input is [N, C, H, W] either way.
    """

    def __init__(
        self,
        stem: Mapping[str, nn.Layer],
        blocks: Mapping[str, nn.Layer],
        features: int,
        class_num: int,
        data_format: str = "NCHW",
    ) -> None:
        super().__init__()
        self.stem, self.blocks = tuple(stem), tuple(blocks)
        for name, layer in stem.items():
            self.add_sublayer(name, layer)
        self.pool2d_max = nn.MaxPool2D(3, stride=2, padding=1, data_format=data_format)
        for name, layer in blocks.items():
            self.add_sublayer(name, layer)
        self.pool2d_avg = nn.AdaptiveAvgPool2D(1, data_format=data_format)
        self.flatten = nn.Flatten()
        self.out = linear(features, class_num)
        self.data_format = data_format

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] images -> [N, class_num] logits."""
        if self.data_format == "NHWC":
            x = paddle.transpose(x, [0, 2, 3, 1])
        for name in self.stem:
            x = getattr(self, name)(x)
        x = self.pool2d_max(x)
        for name in self.blocks:
            x = getattr(self, name)(x)
        return self.out(self.flatten(self.pool2d_avg(x)))

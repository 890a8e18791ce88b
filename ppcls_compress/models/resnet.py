"""ResNet (He et al. 2016), stride on the 3 x 3 convolution, and ResNet_vd (He et al. 2019, "Bag of tricks").

As in PaddleClas, the first block of every stage has a projection shortcut, stage one included.
"""

from __future__ import annotations

import math
from typing import Any

import paddle
from paddle import ParamAttr, Tensor, nn

from ppcls_compress.models.families.resnet import ResNetOptions
from ppcls_compress.models.layers import ConvNormAct

_WIDTHS = (64, 128, 256, 512)
_DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 12, 48, 3),
}


class PooledProjection(ConvNormAct):
    """ResNet_vd's shortcut: average pooling carries the stride, so that no position is skipped."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int | tuple[int, int], **common: Any) -> None:
        super().__init__(in_channels, out_channels, 1, act=None, **common)
        self.avg_pool = nn.AvgPool2D(
            2, stride=stride, padding="SAME", ceil_mode=True, data_format=common["data_format"]
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        return super().forward(self.avg_pool(x))


class ResidualBlock(nn.Layer):
    """relu(branch(x) + short(x)).

    Args:
        convs: kernel, output channels and stride of each convolution of the branch.
        short: the shortcut.
        common: `lr_mult` and `data_format` of the branch.
    """

    def __init__(self, in_channels: int, convs: list[tuple[int, int, int]], short: nn.Layer, **common: Any) -> None:
        super().__init__()
        self.branch = tuple(f"conv{index}" for index in range(len(convs)))
        for name, (kernel, channels, stride) in zip(self.branch, convs, strict=True):
            act = None if name == self.branch[-1] else "relu"
            setattr(self, name, ConvNormAct(in_channels, channels, kernel, stride=stride, act=act, **common))
            in_channels = channels
        self.short = short
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        y = x
        for name in self.branch:
            y = getattr(self, name)(y)
        return self.relu(y + self.short(x))


class ResNet(nn.Layer):
    """ResNet for ImageNet-sized images.

    Args:
        depth: 18, 34, 50, 101, 152 or 200; from 50 on the blocks are bottlenecks of expansion 4.
        vd: three 3 x 3 convolutions for a stem and average-pooled projection shortcuts.
        options: what the config's `Arch` section says.
    """

    def __init__(self, depth: int, *, vd: bool = False, options: ResNetOptions | None = None) -> None:
        super().__init__()
        options = options or ResNetOptions()
        self.bottleneck = depth >= 50
        self.vd = vd
        self.data_format = options.data_format
        self.stem = self._stem(options)
        self.max_pool = nn.MaxPool2D(3, stride=options.stride_list[1], padding=1, data_format=self.data_format)
        self.blocks = nn.Sequential(*self._blocks(_DEPTHS[depth], options))
        self.avg_pool = nn.AdaptiveAvgPool2D(1, data_format=self.data_format)
        self.flatten = nn.Flatten()
        features = _WIDTHS[-1] * self._expansion
        bound = 1 / math.sqrt(features)
        weight_attr = ParamAttr(initializer=nn.initializer.Uniform(-bound, bound))
        self.fc = nn.Linear(features, options.class_num, weight_attr=weight_attr)

    @property
    def _expansion(self) -> int:
        return 4 if self.bottleneck else 1

    def _stem(self, options: ResNetOptions) -> nn.Sequential:
        image, stride = options.input_image_channel, options.stride_list[0]
        convs = [(image, 32, 3, stride), (32, 32, 3, 1), (32, 64, 3, 1)] if self.vd else [(image, 64, 7, stride)]
        common = {"lr_mult": options.lr_mult_list[0], "data_format": self.data_format, "act": options.stem_act}
        return nn.Sequential(*(ConvNormAct(i, o, k, stride=s, **common) for i, o, k, s in convs))

    def _blocks(self, depths: tuple[int, ...], options: ResNetOptions) -> list[ResidualBlock]:
        blocks, channels = [], _WIDTHS[0]
        for stage, (width, depth) in enumerate(zip(_WIDTHS, depths, strict=True)):
            common = {"lr_mult": options.lr_mult_list[stage + 1], "data_format": self.data_format}
            for index in range(depth):
                first_of_all = stage == index == 0
                stride = options.stride_list[stage + 1] if index == 0 and stage > 0 else 1
                out = width * self._expansion
                if index > 0 or (stage == 0 and not options.use_first_short_conv):
                    short = nn.Identity()
                elif self.vd and not first_of_all:
                    short = PooledProjection(channels, out, stride=stride, **common)
                else:
                    short = ConvNormAct(channels, out, 1, stride=stride, act=None, **common)
                if self.bottleneck:
                    convs = [(1, width, 1), (3, width, stride), (1, out, 1)]
                else:
                    convs = [(3, width, stride), (3, width, 1)]
                blocks.append(ResidualBlock(channels, convs, short, **common))
                channels = out
        return blocks

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] images -> [N, class_num] logits."""
        if self.data_format == "NHWC":
            x = paddle.transpose(x, [0, 2, 3, 1])
        x = self.blocks(self.max_pool(self.stem(x)))
        return self.fc(self.flatten(self.avg_pool(x)))

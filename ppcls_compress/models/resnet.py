"""ResNet (He et al. 2016), stride on the 3 x 3 convolution, and ResNet_vd (He et al. 2019, "Bag of tricks").

As in PaddleClas, the first block of every stage has a projection shortcut, stage one included.
"""

from __future__ import annotations

from typing import Any

import paddle
from paddle import Tensor, nn

from ppcls_compress.models.diverse_branch import DiverseBranchBlock
from ppcls_compress.models.families.resnet import ResNetOptions
from ppcls_compress.models.layers import ConvNormAct, linear
from ppcls_compress.models.residual import DEPTHS, ResidualBlock, pooled

_WIDTHS = (64, 128, 256, 512)


_LAYERS = {"ConvBNLayer": ConvNormAct, "DiverseBranchBlock": DiverseBranchBlock}


def branch(
    in_channels: int, convs: list[tuple[int, int, int]], layer_type: str = "ConvBNLayer", **common: Any
) -> dict[str, nn.Layer]:
    """Convolutions of these kernels, output channels and strides, the last without activation, by PaddleClas' names."""
    make, layers = _LAYERS[layer_type], {}
    for index, (kernel, channels, stride) in enumerate(convs):
        act = None if index == len(convs) - 1 else "relu"
        layers[f"conv{index}"] = make(in_channels, channels, kernel, stride=stride, act=act, **common)
        in_channels = channels
    return layers


class ResNet(nn.Layer):
    """ResNet for ImageNet-sized images.

    Args:
        depth: 18, 34, 50, 101, 152 or 200; from 50 on the blocks are bottlenecks of expansion 4.
        vd: three 3 x 3 convolutions for a stem and average-pooled projection shortcuts.
        max_pool: the features before the classifier are largest values, not means.
        options: what the config's `Arch` section says.
    """

    def __init__(
        self, depth: int, *, vd: bool = False, max_pool: bool = False, options: ResNetOptions | None = None
    ) -> None:
        super().__init__()
        options = options or ResNetOptions()
        self.bottleneck = depth >= 50
        self.vd = vd
        self.data_format = options.data_format
        self.stem = self._stem(options)
        self.max_pool = nn.MaxPool2D(3, stride=options.stride_list[1], padding=1, data_format=self.data_format)
        self.blocks = nn.Sequential(*self._blocks(DEPTHS[depth], options))
        self.avg_pool = nn.AdaptiveAvgPool2D(1, data_format=self.data_format)
        if max_pool:
            self.avg_pool = nn.AdaptiveMaxPool2D(1)
        self.flatten = nn.Flatten()
        self.fc = linear(_WIDTHS[-1] * self._expansion, options.class_num)

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
                stride = options.stride_list[stage + 1] if index == 0 and stage > 0 else 1
                out = width * self._expansion
                pool = None
                if index > 0 or (stage == 0 and not options.use_first_short_conv):
                    short = nn.Identity()
                elif self.vd and stage > 0:
                    pool = pooled(stride, self.data_format)
                    short = ConvNormAct(channels, out, 1, act=None, **common)
                else:
                    short = ConvNormAct(channels, out, 1, stride=stride, act=None, **common)
                if self.bottleneck:
                    convs = [(1, width, 1), (3, width, stride), (1, out, 1)]
                else:
                    convs = [(3, width, stride), (3, width, 1)]
                blocks.append(ResidualBlock(branch(channels, convs, options.layer_type, **common), short, pool))
                channels = out
        return blocks

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] images -> [N, class_num] logits."""
        if self.data_format == "NHWC":
            x = paddle.transpose(x, [0, 2, 3, 1])
        x = self.blocks(self.max_pool(self.stem(x)))
        return self.fc(self.flatten(self.avg_pool(x)))

"""MobileNetV1 (Howard et al. 2017): depthwise separable convolutions."""

from __future__ import annotations

from paddle import ParamAttr, Tensor, nn

from ppcls_compress.models.families.base import ArchOptions
from ppcls_compress.models.layers import ConvNormAct

_STEM = 32
_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Output channels at width 1, and stride."""


def _conv(in_channels: int, out_channels: int, kernel: int, **settings: object) -> ConvNormAct:
    return ConvNormAct(in_channels, out_channels, kernel, weight_init=nn.initializer.KaimingNormal(), **settings)


class DepthwiseSeparable(nn.Layer):
    """A depthwise convolution, then a 1 x 1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise_conv = _conv(in_channels, in_channels, 3, stride=stride, groups=in_channels)
        self.pointwise_conv = _conv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        return self.pointwise_conv(self.depthwise_conv(x))


class MobileNetV1(nn.Layer):
    """MobileNetV1.

    Args:
        scale: width factor.
        options: what the config's `Arch` section says.
    """

    def __init__(self, scale: float = 1.0, *, options: ArchOptions | None = None) -> None:
        super().__init__()
        options = options or ArchOptions()
        channels = int(_STEM * scale)
        self.conv = _conv(3, channels, 3, stride=2)
        blocks = []
        for out, stride in _BLOCKS:
            blocks.append(DepthwiseSeparable(channels, int(out * scale), stride))
            channels = int(out * scale)
        self.blocks = nn.Sequential(*blocks)
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(
            channels, options.class_num, weight_attr=ParamAttr(initializer=nn.initializer.KaimingNormal())
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        return self.fc(self.flatten(self.avg_pool(self.blocks(self.conv(x)))))

"""MobileNetV2 (Sandler et al. 2018): inverted residuals with linear bottlenecks."""

from __future__ import annotations

from paddle import Tensor, nn

from ppcls_compress.models.families.base import ArchOptions
from ppcls_compress.models.layers import OlderConvNormAct

_STEM, _LAST = 32, 1280
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""The paper's table 2: expansion, output channels at width 1, blocks, stride of the first."""


class InvertedResidual(nn.Layer):
    """Widen by 1 x 1, filter depthwise, narrow by 1 x 1; a shortcut but for the first block of a stage."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int, *, shortcut: bool) -> None:
        super().__init__()
        expanded = in_channels * expansion
        self._expand_conv = OlderConvNormAct(in_channels, expanded, 1, act="relu6")
        self._bottleneck_conv = OlderConvNormAct(expanded, expanded, 3, stride=stride, groups=expanded, act="relu6")
        self._linear_conv = OlderConvNormAct(expanded, out_channels, 1, act=None)
        self.has_shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        y = self._linear_conv(self._bottleneck_conv(self._expand_conv(x)))
        return x + y if self.has_shortcut else y


def _stage(name: str, in_channels: int, out_channels: int, expansion: int, blocks: int, stride: int) -> nn.Sequential:
    first = InvertedResidual(in_channels, out_channels, expansion, stride, shortcut=False)
    rest = [
        (f"{name}_{index}", InvertedResidual(out_channels, out_channels, expansion, 1, shortcut=True))
        for index in range(2, blocks + 1)
    ]
    return nn.Sequential(("_first_block", first), *rest)


class MobileNetV2(nn.Layer):
    """MobileNetV2.

    Args:
        scale: width factor; features before the classifier grow with it, and do not shrink.
        options: what the config's `Arch` section says.
    """

    def __init__(self, scale: float = 1.0, *, options: ArchOptions | None = None) -> None:
        super().__init__()
        options = options or ArchOptions()
        channels = int(_STEM * scale)
        self.conv1 = OlderConvNormAct(3, channels, 3, stride=2, act="relu6")
        self.stages = [f"conv{index}" for index in range(2, 2 + len(_STAGES))]
        for name, (expansion, out, blocks, stride) in zip(self.stages, _STAGES, strict=True):
            self.add_sublayer(name, _stage(name, channels, int(out * scale), expansion, blocks, stride))
            channels = int(out * scale)
        features = int(_LAST * max(scale, 1.0))
        self.conv9 = OlderConvNormAct(channels, features, 1, act="relu6")
        self.pool2d_avg = nn.AdaptiveAvgPool2D(1)
        self.flatten = nn.Flatten()
        self.out = nn.Linear(features, options.class_num)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self.conv1(x)
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.out(self.flatten(self.pool2d_avg(self.conv9(x))))

"""RepVGG (Ding et al. 2021): 3 x 3, 1 x 1 and identity branches that are deployed as one 3 x 3 convolution."""

from __future__ import annotations

import numpy as np
from paddle import Tensor, nn
from paddle.nn import functional as F

from ppcls_compress.models import merging
from ppcls_compress.models.families.base import ArchOptions
from ppcls_compress.models.layers import ConvNormAct
from ppcls_compress.slim.quant.fold import affine

_WIDTHS = (64, 128, 256, 512)


class ConvGate(nn.Layer):
    """Rescales each channel by a sigmoid gate computed from all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2D(channels, channels // 16, 1)
        self.up = nn.Conv2D(channels // 16, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        y = F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))
        return x * F.sigmoid(self.up(y))


class RepVGGBlock(nn.Layer):
    """relu(gate(3 x 3 + 1 x 1 + identity)), each branch with a batch norm; the identity where the shape stays.

    Attributes:
        is_repped: whether `rbr_reparam` takes the place of the branches.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, groups: int, se: bool) -> None:
        super().__init__()
        self.is_repped = False
        self.nonlinearity = nn.ReLU()
        self.se = ConvGate(out_channels) if se else nn.Identity()
        self.rbr_identity = nn.BatchNorm2D(in_channels) if in_channels == out_channels and stride == 1 else None
        common = {"stride": stride, "groups": groups, "act": None}
        self.rbr_dense = ConvNormAct(in_channels, out_channels, 3, **common)
        self.rbr_1x1 = ConvNormAct(in_channels, out_channels, 1, **common)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        return self.nonlinearity(self.se(self._convolved(x)))

    def _convolved(self, x: Tensor) -> Tensor:
        if self.is_repped:
            return self.rbr_reparam(x)
        y = self.rbr_dense(x) + self.rbr_1x1(x)
        return y if self.rbr_identity is None else y + self.rbr_identity(x)

    def re_parameterize(self) -> None:
        """Replace the branches by the convolution that they add up to in evaluation mode."""
        if self.is_repped:
            return
        kernels = [merging.folded(branch.conv, branch.bn) for branch in (self.rbr_dense, self.rbr_1x1)]
        if self.rbr_identity is not None:
            kernels.append(_identity(self.rbr_identity, self.rbr_1x1.conv))
        self.rbr_reparam = merging.convolution(merging.added(kernels, size=3), self.rbr_dense.conv)
        del self.rbr_identity, self.rbr_dense, self.rbr_1x1
        self.is_repped = True


def _identity(norm: nn.BatchNorm2D, like: nn.Conv2D) -> merging.Kernel:
    """The 1 x 1 convolution, with the shape and groups of `like`, that is a batch norm."""
    factor, shift = affine(norm)
    weight = np.zeros(like.weight.shape)
    outputs = np.arange(len(weight))
    weight[outputs, outputs % weight.shape[1], 0, 0] = factor
    return weight, shift


class RepVGG(nn.Layer):
    """RepVGG.

    Args:
        depths: blocks in each of the four stages.
        widths: width factor of each stage.
        groups: of every second block, from the third on.
        se: gate each block.
        options: what the config's `Arch` section says.
    """

    def __init__(
        self,
        depths: tuple[int, ...],
        widths: tuple[float, ...],
        *,
        groups: int = 1,
        se: bool = False,
        options: ArchOptions | None = None,
    ) -> None:
        super().__init__()
        options = options or ArchOptions()
        channels = min(64, int(64 * widths[0]))
        self.stage0 = RepVGGBlock(3, channels, stride=2, groups=1, se=se)
        number = 1
        for stage, (width, factor, depth) in enumerate(zip(_WIDTHS, widths, depths, strict=True), start=1):
            out, blocks = int(width * factor), []
            for index in range(depth):
                own = groups if number % 2 == 0 else 1
                blocks.append(RepVGGBlock(channels, out, stride=1 if index else 2, groups=own, se=se))
                channels = out
                number += 1
            self.add_sublayer(f"stage{stage}", nn.Sequential(*blocks))
        self.gap = nn.AdaptiveAvgPool2D(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(channels, options.class_num)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self.stage4(self.stage3(self.stage2(self.stage1(self.stage0(x)))))
        return self.linear(self.flatten(self.gap(x)))

"""Diverse branch block (Ding et al. 2021, "Diverse Branch Block"): a convolution that is trained as four branches."""

from __future__ import annotations

from typing import Any

import numpy as np
from paddle import Tensor, nn
from paddle.nn import functional as F

from ppcls_compress.models import merging
from ppcls_compress.models.layers import ACTIVATIONS, ConvNormAct, conv_and_norm
from ppcls_compress.slim.quant.fold import affine


class IdentityConv(nn.Conv2D):
    """A 1 x 1 convolution beside an identity, which it starts as."""

    def __init__(self, channels: int) -> None:
        zero = nn.initializer.Constant(0.0)
        super().__init__(channels, channels, 1, weight_attr=zero, bias_attr=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        return super().forward(x) + x


class NormAndPad(nn.Layer):
    """Batch normalization, and what it makes of zeros around it, as if the convolution before it had been padded."""

    def __init__(self, channels: int, margin: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2D(channels, momentum=0.1)
        self.margin = margin

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H + 2 margin, W + 2 margin]."""
        x, norm = self.bn(x), self.bn
        of_zero = norm.bias - norm.weight * norm._mean / (norm._variance + norm._epsilon).sqrt()
        of_zero = of_zero.reshape([1, -1, 1, 1])
        return F.pad(x - of_zero, [self.margin] * 4) + of_zero


class DiverseBranchBlock(nn.Layer):
    """act(k x k + 1 x 1 + (1 x 1, then mean) + (1 x 1, then k x k)), each branch with batch norms.

    It takes the place of a `ConvNormAct`.

    Attributes:
        is_repped: whether `dbb_reparam` takes the place of the branches.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int | tuple[int, int] = 1,
        act: str | None = "relu",
        **settings: Any,
    ) -> None:
        super().__init__()
        self.is_repped = False
        common = {"stride": stride, "act": None, **settings}
        self.dbb_origin = ConvNormAct(in_channels, out_channels, kernel, **common)
        narrow, norm = conv_and_norm(in_channels, out_channels, 1, **settings)
        self.dbb_avg = nn.Sequential(
            ("conv", narrow),
            ("bn", NormAndPad(out_channels, kernel // 2)),
            ("avg", nn.AvgPool2D(kernel, stride=stride)),
            ("avgbn", norm),
        )
        self.dbb_1x1 = ConvNormAct(in_channels, out_channels, 1, **common)
        wide, norm = conv_and_norm(in_channels, out_channels, kernel, stride=stride, padding="VALID", **settings)
        self.dbb_1x1_kxk = nn.Sequential(
            ("idconv1", IdentityConv(in_channels)),
            ("bn1", NormAndPad(in_channels, kernel // 2)),
            ("conv2", wide),
            ("bn2", norm),
        )
        self.nonlinear = ACTIVATIONS[act]()

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        return self.nonlinear(self._convolved(x))

    def _convolved(self, x: Tensor) -> Tensor:
        if self.is_repped:
            return self.dbb_reparam(x)
        return self.dbb_origin(x) + self.dbb_1x1(x) + self.dbb_avg(x) + self.dbb_1x1_kxk(x)

    def re_parameterize(self) -> None:
        """Replace the branches by the convolution that they add up to in evaluation mode."""
        if self.is_repped:
            return
        size = self.dbb_origin.conv.weight.shape[-1]
        plain = [merging.folded(branch.conv, branch.bn) for branch in (self.dbb_origin, self.dbb_1x1)]
        kernel = merging.added([*plain, self._mean_branch(size), self._two_convolutions()], size)
        self.dbb_reparam = merging.convolution(kernel, self.dbb_origin.conv)
        del self.dbb_origin, self.dbb_1x1, self.dbb_avg, self.dbb_1x1_kxk
        self.is_repped = True

    def _mean_branch(self, size: int) -> merging.Kernel:
        weight, bias = merging.folded(self.dbb_avg.conv, self.dbb_avg.bn.bn)
        factor, shift = affine(self.dbb_avg.avgbn)
        spread = np.broadcast_to(weight / size**2, (*weight.shape[:2], size, size))
        return spread * factor[:, None, None, None], bias * factor + shift

    def _two_convolutions(self) -> merging.Kernel:
        branch = self.dbb_1x1_kxk
        factor, shift = affine(branch.bn1.bn)
        first = (branch.idconv1.weight.numpy()[:, :, 0, 0] + np.eye(len(factor))) * factor[:, None]
        second, bias = merging.folded(branch.conv2, branch.bn2)
        weight = np.tensordot(second, first, (1, 0)).transpose(0, 3, 1, 2)
        return weight, bias + (second * shift[:, None, None]).sum((1, 2, 3))

"""PP-LCNetV2 (PaddleClas, 2022): depthwise branches that merge into one, split 1 x 1 convolutions, few shortcuts."""

from __future__ import annotations

from typing import NamedTuple

from paddle import Tensor, nn

from ppcls_compress.models import merging
from ppcls_compress.models.families.pplcnet_v2 import PPLCNetV2Options
from ppcls_compress.models.layers import ConvNormAct, SqueezeExcite, make_divisible


class _Stage(NamedTuple):
    """Output channels at width 1, depthwise kernel, and what its blocks have."""

    out: int
    kernel: int
    split: bool = False
    branches: bool = False
    se: bool = False
    shortcut: bool = False


_STEM = 32
_FIRST = _Stage(64, 3)
_STAGES = (
    _Stage(128, 3),
    _Stage(256, 3),
    _Stage(512, 5, split=True, branches=True, se=True),
    _Stage(1024, 5, branches=True, shortcut=True),
)


def _conv(in_channels: int, out_channels: int, kernel: int, **settings: object) -> ConvNormAct:
    init = nn.initializer.KaimingNormal()
    return ConvNormAct(in_channels, out_channels, kernel, decay_norm=False, weight_init=init, **settings)


class DepthwiseSeparable(nn.Layer):
    """Depthwise convolution, gate if `stage.se`, one or two 1 x 1 convolutions.

    With `stage.branches`, depthwise convolutions of all odd kernels up to the stage's add up, until they are merged.

    Attributes:
        is_repped: whether `dw_conv` takes the place of the branches.
    """

    def __init__(self, in_channels: int, out_channels: int, stage: _Stage, *, stride: int) -> None:
        super().__init__()
        self.is_repped = not stage.branches
        self.has_shortcut = stage.shortcut and stride == 1 and in_channels == out_channels
        depthwise = {"stride": stride, "groups": in_channels, "act": None}
        if stage.branches:
            kernels = [kernel for kernel in range(stage.kernel, 0, -2) if kernel > 1 or stride == 1]
            branches = [_conv(in_channels, in_channels, kernel, **depthwise) for kernel in kernels]
            self.dw_conv_list = nn.LayerList(branches)
            # Published weights have a place for the merged convolution.
            margin = stage.kernel // 2
            self.dw_conv = nn.Conv2D(
                in_channels, in_channels, stage.kernel, stride=stride, padding=margin, groups=in_channels
            )
            self.dw_conv.weight.stop_gradient = self.dw_conv.bias.stop_gradient = True
        else:
            self.dw_conv = _conv(in_channels, in_channels, stage.kernel, **depthwise)
        self.act = nn.ReLU()
        self.se = SqueezeExcite(in_channels, gate_slope=None) if stage.se else nn.Identity()
        if stage.split:
            self.pw_conv_1 = _conv(in_channels, out_channels // 2, 1)
            self.pw_conv_2 = _conv(out_channels // 2, out_channels, 1)
        else:
            self.pw_conv = _conv(in_channels, out_channels, 1)
        self.split = stage.split

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        y = self.se(self.act(self._depthwise(x)))
        y = self.pw_conv_2(self.pw_conv_1(y)) if self.split else self.pw_conv(y)
        return x + y if self.has_shortcut else y

    def _depthwise(self, x: Tensor) -> Tensor:
        if self.is_repped:
            return self.dw_conv(x)
        y = self.dw_conv_list[0](x)
        for branch in self.dw_conv_list[1:]:
            y = y + branch(x)
        return y

    def _merged(self) -> merging.Kernel:
        branches = list(self.dw_conv_list)
        return merging.added(
            (merging.folded(each.conv, each.bn) for each in branches), branches[0].conv._kernel_size[0]
        )

    def re_parameterize(self) -> None:
        """Replace the branches by the convolution that they add up to in evaluation mode."""
        if not self.is_repped:
            self.dw_conv = merging.convolution(self._merged(), self.dw_conv_list[0].conv)
            self.dw_conv_list = nn.LayerList()
            self.is_repped = True


class PPLCNetV2(nn.Layer):
    """PP-LCNetV2.

    Args:
        scale: width factor; channels are rounded to multiples of 8.
        depths: blocks in each of the four stages.
        retrieval: keep the size in the last stage, and end in features that may be negative.
        options: what the config's `Arch` section says.
    """

    def __init__(
        self,
        scale: float,
        depths: tuple[int, ...],
        *,
        retrieval: bool = False,
        options: PPLCNetV2Options | None = None,
    ) -> None:
        super().__init__()
        options = options or PPLCNetV2Options()
        stem, channels = make_divisible(_STEM * scale), make_divisible(_FIRST.out * scale)
        self.stem = nn.Sequential(_conv(3, stem, 3, stride=2), DepthwiseSeparable(stem, channels, _FIRST, stride=1))
        self.stages = nn.LayerList()
        for stage, depth in zip(_STAGES, depths, strict=True):
            out, blocks = make_divisible(stage.out * scale), []
            for index in range(depth):
                keeps = index > 0 or (retrieval and stage is _STAGES[-1])
                blocks.append(DepthwiseSeparable(channels, out, stage, stride=1 if keeps else 2))
                channels = out
            self.stages.append(nn.Sequential(*blocks))
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.use_last_conv = options.use_last_conv
        if self.use_last_conv:
            self.last_conv = nn.Conv2D(channels, options.class_expand, 1, bias_attr=None if retrieval else False)
            self.act = nn.Identity() if retrieval else nn.ReLU()
            # Published weights expect the features scaled by 1 - p at inference, not by 1 / (1 - p) in training.
            self.dropout = nn.Dropout(options.dropout_prob, mode="downscale_in_infer")
            channels = options.class_expand
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, options.class_num)
        if retrieval:
            # Published weights are those of the network that it was made of.
            self.fresh_weights = ("stages.3.0.dw_conv_list.2.*", "last_conv.*", "fc.*")

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        x = self.avg_pool(x)
        if self.use_last_conv:
            x = self.dropout(self.act(self.last_conv(x)))
        return self.fc(self.flatten(x))

"""PP-LCNet (Cui et al. 2021): depthwise separable convolutions, large kernels and gates only near the end."""

from __future__ import annotations

from typing import NamedTuple

from paddle import Tensor, nn

from ppcls_compress.models.families.pplcnet import PPLCNetOptions
from ppcls_compress.models.layers import ACTIVATIONS, ConvNormAct, SqueezeExcite, Suffixed, make_divisible


class _Unit(NamedTuple):
    """Kernel, output channels at width 1, and whether there is a gate."""

    kernel: int
    out: int
    se: bool


_STEM = 16
_STAGES = {
    "blocks2": (_Unit(3, 32, False),),
    "blocks3": (_Unit(3, 64, False),) * 2,
    "blocks4": (_Unit(3, 128, False),) * 2,
    "blocks5": (_Unit(3, 256, False), *(_Unit(5, 256, False),) * 5),
    "blocks6": (_Unit(5, 512, True),) * 2,
}


def _conv(in_channels: int, out_channels: int, kernel: int, **settings: object) -> ConvNormAct:
    init = nn.initializer.KaimingNormal()
    return ConvNormAct(in_channels, out_channels, kernel, decay_norm=False, weight_init=init, **settings)


class DepthwiseSeparable(nn.Layer):
    """Depthwise convolution, gate if `unit.se`, 1 x 1 convolution."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        unit: _Unit,
        *,
        stride: int | tuple[int, int],
        lr_mult: float,
        act: str,
    ) -> None:
        super().__init__()
        common = {"lr_mult": lr_mult, "act": act}
        self.dw_conv = _conv(in_channels, in_channels, unit.kernel, stride=stride, groups=in_channels, **common)
        self.se = SqueezeExcite(in_channels, lr_mult=lr_mult) if unit.se else nn.Identity()
        self.pw_conv = _conv(in_channels, out_channels, 1, **common)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        return self.pw_conv(self.se(self.dw_conv(x)))


class PPLCNet(nn.Layer):
    """PP-LCNet.

    Args:
        scale: width factor; channels are rounded to multiples of 8.
        tanh: end with a hyperbolic tangent, for codes of bits.
        options: what the config's `Arch` section says.
    """

    def __init__(self, scale: float = 1.0, *, tanh: bool = False, options: PPLCNetOptions | None = None) -> None:
        super().__init__()
        options = options or PPLCNetOptions()
        channels = make_divisible(_STEM * scale)
        common = {"lr_mult": options.lr_mult_list[0], "act": options.act}
        self.conv1 = _conv(3, channels, 3, stride=options.stride_list[0], **common)
        strides = (1, *options.stride_list[1:])
        for name, stride, lr_mult in zip(_STAGES, strides, options.lr_mult_list[1:], strict=True):
            blocks = []
            for index, unit in enumerate(_STAGES[name]):
                out = make_divisible(unit.out * scale)
                settings = {"stride": stride if index == 0 else 1, "lr_mult": lr_mult, "act": options.act}
                blocks.append(DepthwiseSeparable(channels, out, unit, **settings))
                channels = out
            setattr(self, name, nn.Sequential(*blocks))
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.use_last_conv = options.use_last_conv
        if self.use_last_conv:
            self.last_conv = nn.Conv2D(channels, options.class_expand, 1, bias_attr=False)
            self.act = ACTIVATIONS[options.act]()
            # Published weights expect the features scaled by 1 - p at inference, not by 1 / (1 - p) in training.
            self.dropout = nn.Dropout(options.dropout_prob, mode="downscale_in_infer")
            channels = options.class_expand
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, options.class_num)
        if tanh:
            self.fc = Suffixed(self.fc, nn.Tanh())
            self.unused_weights, self.fresh_weights = ("fc.weight", "fc.bias"), ("fc.*",)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self.conv1(x)
        for name in _STAGES:
            x = getattr(self, name)(x)
        x = self.avg_pool(x)
        if self.use_last_conv:
            x = self.dropout(self.act(self.last_conv(x)))
        return self.fc(self.flatten(x))

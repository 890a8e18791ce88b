"""HRNet (Wang et al. 2021) for classification: branches of several resolutions that exchange their maps."""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn import functional as F

from ppcls_compress.models.families.base import ArchOptions
from ppcls_compress.models.layers import ConvNormAct, LinearSqueezeExcite, linear
from ppcls_compress.models.residual import ResidualBlock

_STEM, _EXPANSION, _BLOCKS = 64, 4, 4
_MODULES = (1, 4, 3)
"""Modules of two, three and four branches."""
_HEAD, _FEATURES = (32, 64, 128, 256), 2048


def _gate(channels: int, se: bool) -> dict[str, nn.Layer]:
    return {"se": LinearSqueezeExcite(channels, names=("fc_squeeze", "fc_excitation"))} if se else {}


class BasicBlock(ResidualBlock):
    """Two 3 x 3 convolutions."""

    def __init__(self, channels: int, se: bool) -> None:
        convs = {
            "conv1": ConvNormAct(channels, channels, 3),
            "conv2": ConvNormAct(channels, channels, 3, act=None),
        }
        super().__init__(convs | _gate(channels, se), nn.Identity())


class Bottleneck(ResidualBlock):
    """1 x 1, 3 x 3, 1 x 1 convolutions; a projection where the number of channels changes."""

    def __init__(self, in_channels: int, width: int, se: bool) -> None:
        out = width * _EXPANSION
        convs = {
            "conv1": ConvNormAct(in_channels, width, 1),
            "conv2": ConvNormAct(width, width, 3),
            "conv3": ConvNormAct(width, out, 1, act=None),
        }
        projection = nn.Identity() if in_channels == out else ConvNormAct(in_channels, out, 1, act=None)
        super().__init__(convs | _gate(out, se), projection, short_name="conv_down")


class Exchange(nn.Layer):
    """Every branch becomes the sum of all, brought to its resolution."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = len(channels)
        self.relu = nn.ReLU()
        # In the order in which `forward` takes them.
        convs = []
        for to, out in enumerate(channels):
            for origin, width in enumerate(channels):
                if origin > to:
                    convs.append(ConvNormAct(width, out, 1, act=None))
                for step in range(to - origin):
                    last = step == to - origin - 1
                    convs.append(ConvNormAct(width, out if last else width, 3, stride=2, act=None if last else "relu"))
        self.residual_func_list = nn.LayerList(convs)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """[N, C_i, H_i, W_i] for each branch i -> the same shapes."""
        outputs, index = [], 0
        for to in range(self.branches):
            total = maps[to]
            for origin in range(self.branches):
                if origin == to:
                    continue
                y = maps[origin]
                for _ in range(max(to - origin, 1)):
                    y = self.residual_func_list[index](y)
                    index += 1
                if origin > to:
                    y = F.interpolate(y, size=total.shape[2:], mode="nearest")
                total = total + y
            outputs.append(self.relu(total))
        return outputs


class Module(nn.Layer):
    """Four blocks in each branch, then an exchange."""

    def __init__(self, channels: tuple[int, ...], se: bool) -> None:
        super().__init__()
        branches = [nn.Sequential(*(BasicBlock(width, se) for _ in range(_BLOCKS))) for width in channels]
        self.basic_block_list = nn.LayerList(branches)
        self.fuse_func = Exchange(channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """[N, C_i, H_i, W_i] for each branch i -> the same shapes."""
        return self.fuse_func([branch(maps[index]) for index, branch in enumerate(self.basic_block_list)])


class Stage(nn.Layer):
    """Modules of the same branches, one after another."""

    def __init__(self, modules: int, channels: tuple[int, ...], se: bool) -> None:
        super().__init__()
        self.stage_func_list = nn.LayerList([Module(channels, se) for _ in range(modules)])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """[N, C_i, H_i, W_i] for each branch i -> the same shapes."""
        for module in self.stage_func_list:
            maps = module(maps)
        return maps


class Widening(nn.Layer):
    """A bottleneck for each branch."""

    def __init__(self, channels: tuple[int, ...], se: bool) -> None:
        super().__init__()
        blocks = [Bottleneck(channel, width, se) for channel, width in zip(channels, _HEAD, strict=True)]
        self.func_list = nn.LayerList(blocks)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """[N, C_i, H_i, W_i] for each branch i -> [N, 128 * 2^i, H_i, W_i]."""
        return [block(maps[index]) for index, block in enumerate(self.func_list)]


class HRNet(nn.Layer):
    """HRNet.

    Args:
        width: channels of the finest branch; each coarser one has twice as many.
        se: gate each block.
        options: what the config's `Arch` section says.
    """

    def __init__(self, width: int, *, se: bool = False, options: ArchOptions | None = None) -> None:
        super().__init__()
        options = options or ArchOptions()
        channels = tuple(width * 2**branch for branch in range(4))
        widened = [_EXPANSION * width for width in _HEAD]
        first = _STEM * _EXPANSION
        self.conv_layer1_1 = ConvNormAct(3, _STEM, 3, stride=2)
        self.conv_layer1_2 = ConvNormAct(_STEM, _STEM, 3, stride=2)
        self.layer1 = nn.Sequential(*(Bottleneck(first if index else _STEM, _STEM, se) for index in range(_BLOCKS)))
        self.conv_tr1_1 = ConvNormAct(first, channels[0], 3)
        self.conv_tr1_2 = ConvNormAct(first, channels[1], 3, stride=2)
        self.st2 = Stage(_MODULES[0], channels[:2], se)
        self.conv_tr2 = ConvNormAct(channels[1], channels[2], 3, stride=2)
        self.st3 = Stage(_MODULES[1], channels[:3], se)
        self.conv_tr3 = ConvNormAct(channels[2], channels[3], 3, stride=2)
        self.st4 = Stage(_MODULES[2], channels, se)
        self.last_cls = Widening(channels, se)
        self.cls_head_conv_list = nn.LayerList(
            [ConvNormAct(widened[branch], widened[branch + 1], 3, stride=2) for branch in range(3)]
        )
        self.conv_last = ConvNormAct(widened[3], _FEATURES, 1)
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.flatten = nn.Flatten()
        self.fc = linear(_FEATURES, options.class_num)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self.layer1(self.conv_layer1_2(self.conv_layer1_1(x)))
        maps = self.st2([self.conv_tr1_1(x), self.conv_tr1_2(x)])
        maps = self.st3([*maps, self.conv_tr2(maps[-1])])
        maps = self.st4([*maps, self.conv_tr3(maps[-1])])
        maps = self.last_cls(maps)
        y = maps[0]
        for index, conv in enumerate(self.cls_head_conv_list):
            y = maps[index + 1] + conv(y)
        return self.fc(self.flatten(self.avg_pool(self.conv_last(y))))

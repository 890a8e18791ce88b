"""Res2Net (Gao et al. 2021), whose bottlenecks convolve parts of the channels one after another; and Res2Net_vd."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn

from ppcls_compress.models.families.base import ArchOptions
from ppcls_compress.models.layers import OlderConvNormAct
from ppcls_compress.models.residual import Place, ResidualTrunk, places, projection


class Res2NetBlock(nn.Layer):
    """Narrow, convolve in parts, widen, add the shortcut.

    Args:
        place: where the block is.
        width: channels of each part.
        parts: every part but the last is convolved, with the part before it added at stride 1.
        out: channels of the output.
        name: what PaddleClas calls the block.
        vd: average-pooled projection shortcut.
    """

    def __init__(self, place: Place, width: int, parts: int, out: int, name: str, *, vd: bool) -> None:
        super().__init__()
        self.parts, self.stride = parts, place.stride
        self.conv0 = OlderConvNormAct(place.in_channels, parts * width, 1)
        self.chain = [f"{name}_branch2b_{part}" for part in range(1, parts)]
        for part in self.chain:
            self.add_sublayer(part, OlderConvNormAct(width, width, 3, stride=place.stride))
        self.last = nn.Identity() if place.stride == 1 else nn.AvgPool2D(3, stride=place.stride, padding=1)
        self.conv2 = OlderConvNormAct(parts * width, out, 1, act=None)
        self.short, self.pool = nn.Identity(), nn.Identity()
        if place.index == 0:
            self.short, self.pool = projection(place, out, vd=vd)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        parts = paddle.split(self.conv0(x), self.parts, axis=1)
        outputs = []
        for index, name in enumerate(self.chain):
            part = parts[index]
            if index > 0 and self.stride == 1:
                part = part + outputs[-1]
            outputs.append(getattr(self, name)(part))
        outputs.append(self.last(parts[-1]))
        y = self.conv2(paddle.concat(outputs, axis=1))
        return self.relu(y + self.short(self.pool(x)))


class Res2Net(ResidualTrunk):
    """Res2Net.

    Args:
        depth: 50, 101 or 200.
        width: channels of each part in the first stage.
        parts: of the channels in each block.
        vd: three 3 x 3 convolutions for a stem and average-pooled projection shortcuts.
        options: what the config's `Arch` section says.
    """

    def __init__(
        self, depth: int, *, width: int, parts: int, vd: bool = False, options: ArchOptions | None = None
    ) -> None:
        options = options or ArchOptions()
        outs = (256, 512, 1024, 2048)
        blocks = {}
        for place in places(depth, 64, outs):
            name = _block_name(place, depth)
            blocks[place.name] = Res2NetBlock(place, width * 2**place.stage, parts, outs[place.stage], name, vd=vd)
        if vd:
            convs = ((3, 32, 2), (32, 32, 1), (32, 64, 1))
            stem = {f"conv1_{i + 1}": OlderConvNormAct(c, out, 3, stride=s) for i, (c, out, s) in enumerate(convs)}
        else:
            stem = {"conv1": OlderConvNormAct(3, 64, 7, stride=2)}
        super().__init__(stem, blocks, outs[-1], options.class_num)


def _block_name(place: Place, depth: int) -> str:
    """By letters; in the long third stage of the deeper networks a, b1, b2 and so on."""
    letter = "a" if place.index == 0 else f"b{place.index}"
    return f"res{place.stage + 2}{letter if depth > 50 and place.stage == 2 else chr(ord('a') + place.index)}"

"""ResNet_vc (He et al. 2019), ResNeXt (Xie et al. 2017), and with gates (Hu et al. 2018); vd of these."""

from __future__ import annotations

from typing import Any, NamedTuple

from paddle import nn

from ppcls_compress.models.families.resnext import ResNeXtOptions
from ppcls_compress.models.layers import LinearSqueezeExcite, OlderConvNormAct
from ppcls_compress.models.residual import Place, ResidualBlock, ResidualTrunk, places, projection


class _Kind(NamedTuple):
    """Whether blocks are bottlenecks, groups in these, whether branches are gated, whether shortcuts are pooled."""

    bottleneck: bool
    groups: int
    se: bool
    vd: bool


class ResNeXt(ResidualTrunk):
    """ResNet with groups, gates, or a deep stem.

    Args:
        depth: 18 or 34; or 50, 101 or 152, whose blocks are bottlenecks.
        groups: of the 3 x 3 convolutions in bottlenecks; with more than one, each starts with 4 channels.
        se: gate what each block's branch adds.
        vd: average-pooled projection shortcuts.
        stem: channels of a 7 x 7 convolution, or of three 3 x 3 convolutions.
        options: what the config's `Arch` section says.
    """

    def __init__(
        self,
        depth: int,
        *,
        groups: int = 1,
        se: bool = False,
        vd: bool = False,
        stem: tuple[int, ...] = (32, 32, 64),
        options: ResNeXtOptions | None = None,
    ) -> None:
        options = options or ResNeXtOptions()
        kind = _Kind(depth >= 50, groups, se, vd)
        common = {"data_format": options.data_format}
        outs = tuple((256 if kind.bottleneck else 64) * 2**stage for stage in range(4))
        where = places(depth, stem[-1], outs)
        blocks = {place.name: _block(place, outs[place.stage], kind, **common) for place in where}
        first = _stem(options.input_image_channel, stem, **common)
        super().__init__(first, blocks, outs[-1], options.class_num, **common)


def _block(place: Place, out: int, kind: _Kind, **common: Any) -> ResidualBlock:
    if kind.bottleneck:
        width = (64 if kind.groups == 1 else 4 * kind.groups) * 2**place.stage
        branch = {
            "conv0": OlderConvNormAct(place.in_channels, width, 1, **common),
            "conv1": OlderConvNormAct(width, width, 3, stride=place.stride, groups=kind.groups, **common),
            "conv2": OlderConvNormAct(width, out, 1, act=None, **common),
        }
    else:
        branch = {
            "conv0": OlderConvNormAct(place.in_channels, out, 3, stride=place.stride, **common),
            "conv1": OlderConvNormAct(out, out, 3, act=None, **common),
        }
    if kind.se:
        branch["scale"] = LinearSqueezeExcite(out, **common)
    if place.index > 0:
        return ResidualBlock(branch, nn.Identity())
    return ResidualBlock(branch, *projection(place, out, vd=kind.vd, **common))


def _stem(channels: int, outs: tuple[int, ...], **common: Any) -> dict[str, nn.Layer]:
    if len(outs) == 1:
        return {"conv": OlderConvNormAct(channels, outs[0], 7, stride=2, **common)}
    layers = {}
    for index, out in enumerate(outs, start=1):
        layers[f"conv1_{index}"] = OlderConvNormAct(channels, out, 3, stride=2 if index == 1 else 1, **common)
        channels = out
    return layers

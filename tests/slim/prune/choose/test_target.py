"""Targets are met, and wide layers keep what integer kernels compute at a time."""

import pytest
from paddle import nn

from ppcls_compress import models
from ppcls_compress.slim import cost
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune import prune

SHAPE = [[1, 3, 8, 8]]


def chain(*widths):
    layers = [nn.Conv2D(c, n, 1) for c, n in zip((3, *widths), (*widths, 2), strict=True)]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))


def test_a_target_keeps_wide_layers_in_blocks_and_a_ratio_the_nearest_multiple():
    widths = [24] * 4 + [64] * 4 + [128] * 4 + [256] * 4
    net, _ = prune(chain(*widths), PruneOptions(target_flops=0.6, align=8), SHAPE)
    for conv, width in zip(net[::2], widths, strict=False):
        assert conv.weight.shape[0] % {24: 8, 64: 16, 128: 32, 256: 64}[width] == 0
    net, _ = prune(chain(256), PruneOptions(pruned_ratio=0.3, align=8), SHAPE)
    assert net[0].weight.shape[0] == 176


@pytest.mark.parametrize("goal", [0.35, 0.42, 0.5, 0.66, 0.81])
def test_a_target_is_met_by_some_of_the_layers_that_change_at_one_ratio(goal):
    """Ten layers of one width, in blocks: a single ratio for all has steps of a quarter of them."""
    _, record = prune(chain(*[32] * 10), PruneOptions(target_flops=goal, align=8), SHAPE)
    left = record["after"]["flops"] / record["before"]["flops"]
    assert left == pytest.approx(goal, abs=0.02)


@pytest.mark.parametrize("target", ["target_flops", "target_params"])
@pytest.mark.parametrize("goal", [0.4, 0.5, 0.6, 0.8])
def test_a_target_is_met_where_one_group_of_many_layers_weighs_much(target, goal):
    """The residual channels of a stage go eight at once; no ratio comes near, other layers make up for it."""
    _, record = prune(models.build("CIFARResNet8"), PruneOptions(align=8, **{target: goal}), [[1, 3, 32, 32]])
    kind = target.removeprefix("target_")
    assert record["after"][kind] / record["before"][kind] == pytest.approx(goal, abs=0.02)
    assert all(len(axes.get("0", [])) % 8 == 0 for name, axes in record["kept"].items() if name.endswith("conv.weight"))


@pytest.mark.parametrize("goal", [0.9, 0.8, 0.6, 0.5])
def test_narrower_blocks_are_taken_where_wide_ones_miss_the_target(goal):
    _, record = prune(chain(256, 256), PruneOptions(target_flops=goal, align=8), SHAPE)
    assert record["after"]["flops"] / record["before"]["flops"] == pytest.approx(goal, abs=0.02)


@pytest.mark.parametrize("goal", [0.8, 0.5])
def test_a_latency_is_met_where_wide_blocks_miss_it(goal):
    """A clock that counts multiply-adds: two layers alike, which a single ratio shrinks by a quarter at once."""

    def milliseconds(model):
        return cost.count(model, SHAPE).flops / dense * 100

    dense = cost.count(chain(256, 256), SHAPE).flops
    options = PruneOptions(target_latency_ms=100 * goal, align=8)
    net, _ = prune(chain(256, 256), options, SHAPE, latency=milliseconds)
    assert milliseconds(net) == pytest.approx(100 * goal, rel=0.1)

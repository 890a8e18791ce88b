"""Networks whose branches merge: the same answers from fewer convolutions, pruned or not."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn
from support.pruning import outputs, random_inputs, randomize

from ppcls_compress import models
from ppcls_compress.models import merging
from ppcls_compress.models.repvgg import RepVGG
from ppcls_compress.slim import branches
from ppcls_compress.slim.options import PruneOptions
from ppcls_compress.slim.prune import prune

SHAPES = [[2, 3, 32, 32]]
NETWORKS = {
    "PPLCNetV2": lambda: models.build("PPLCNetV2_small", class_num=5),
    "RepVGG": lambda: models.build("RepVGG_A0", class_num=5),
    "RepVGG with groups and gates": lambda: RepVGG((1, 2, 1, 1), (1, 1, 1, 1), groups=2, se=True),
    "diverse branches": lambda: models.build("ResNet18", layer_type="DiverseBranchBlock", class_num=5),
}


def convolutions(net):
    return sum(isinstance(layer, nn.Conv2D) for layer in net.sublayers())


def test_a_convolution_and_its_batch_norm_are_one():
    conv, norm = nn.Conv2D(4, 6, 3, stride=2, padding=1, groups=2, bias_attr=False), nn.BatchNorm2D(6)
    x = paddle.randn([2, 4, 8, 8])
    randomize(norm).eval()
    merged = merging.convolution(merging.folded(conv, norm), conv)
    np.testing.assert_allclose(merged(x).numpy(), norm(conv(x)).numpy(), rtol=1e-4, atol=1e-5)


def test_smaller_kernels_are_centred():
    large, small = np.zeros((1, 1, 5, 5)), np.ones((1, 1, 3, 3))
    weight, bias = merging.added([(large, np.ones(1)), (small, np.ones(1))], size=5)
    assert (weight.sum(), weight[0, 0, 1:4, 1:4].sum(), bias) == (9, 9, 2)


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_merged_networks_answer_as_before(name, pruned):
    paddle.seed(1)
    net = randomize(NETWORKS[name]())
    if pruned:
        net, record = prune(net, PruneOptions(), SHAPES)
        assert all(pin["reason"] == "the forward pass does not reach it" for pin in record["pinned"])
    before, apart = outputs(net, random_inputs(SHAPES))[0], convolutions(net)
    assert branches.merge(net)
    after = outputs(net, random_inputs(SHAPES))[0]
    assert np.abs(after - before).max() < 1e-4 * np.abs(before).max()
    assert convolutions(net) < apart

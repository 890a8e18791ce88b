import numpy as np
import paddle
import pytest
from paddle import nn
from support.pruning import random_inputs, randomize

from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.slim.options import PruneOptions
from ppcls_compress.slim.paddleslim.criterion_pruners import pruner_class
from ppcls_compress.slim.prune import prune
from ppcls_compress.slim.prune.choose.criteria import CRITERIA

SHAPE = [1, 3, 8, 8]


def network():
    paddle.seed(0)
    layers = [nn.Conv2D(3, 8, 3), nn.BatchNorm2D(8), nn.ReLU(), nn.Conv2D(8, 6, 3), nn.BatchNorm2D(6), nn.ReLU()]
    net = randomize(nn.Sequential(*layers, nn.Conv2D(6, 4, 1)))
    net.eval()
    net(*random_inputs([SHAPE])).square().sum().backward()
    return net


@pytest.mark.parametrize("criterion", list(CRITERIA))
def test_the_pruner_of_every_criterion_removes_what_the_yaml_removes(criterion):
    net = network()
    pruner = pruner_class(criterion)(net, SHAPE)
    names = {tensor.name: name for name, tensor in net.named_parameters()}
    ratios = {net[0].weight.name: 0.5, net[3].weight.name: 0.34}
    planned = {names[key]: masks[0].mask for key, masks in pruner.prune_vars(ratios, 0, apply=None).masks.items()}
    options = PruneOptions(name=criterion, scope="layer", pruned_ratio={"0": 0.5, "3": 0.34})
    _, record = prune(network(), options, [SHAPE])
    for weight in ("0.weight", "3.weight"):
        assert np.flatnonzero(planned[weight]).tolist() == record["kept"][weight]["0"]


def test_layers_without_a_batch_norm_are_told_where_the_criterion_needs_one():
    paddle.seed(0)
    net = nn.Sequential(nn.Conv2D(3, 8, 3), nn.ReLU(), nn.Conv2D(8, 6, 3), nn.BatchNorm2D(6), nn.Conv2D(6, 4, 1))
    pruner = pruner_class("bn_scale")(net, SHAPE)
    assert net[0].weight.name in pruner.unscored()
    assert net[2].weight.name not in pruner.unscored()
    with pytest.raises(UserError, match="no batch normalization with a scale follows"):
        pruner.prune_vars({net[0].weight.name: 0.5}, 0, apply=None)


def test_an_unknown_criterion_is_told_with_the_closest():
    with pytest.raises(ConfigError, match="did you mean 'l1_norm'"):
        pruner_class("l1norm")

"""Whether all ways to ask for the same pruning give the same network."""

import math

import numpy as np
import paddle
import pytest
from support.pruning import error, outputs, random_inputs, randomize

from ppcls_compress.errors import UserError
from ppcls_compress.slim import FPGMFilterPruner, dygraph_flops
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune import prune
from ppcls_compress.slim.prune.cut.verify import outputs_in_double

TOLERANCE = 1e-5
EXACT = 1e-6
"""The same of a network that is run in double precision."""


def built(build):
    """The same network each time, down to the names of its parameters."""
    paddle.seed(11)
    with paddle.utils.unique_name.guard():
        net = randomize(build())
    net.eval()
    return net


def masks_of(plan):
    """(parameter, axis) -> mask, without masks that remove nothing."""
    return {(name, m.dims): list(m.mask) for name, masks in plan.masks.items() for m in masks if not all(m.mask)}


def state(net):
    return {name: value.numpy() for name, value in net.state_dict().items()}


def assert_same_bits(net, before):
    after = state(net)
    assert after.keys() == before.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name], err_msg=name)


def assert_shapes(net, masks):
    """What the masks say is what was cut."""
    tensors = {tensor.name: tensor for tensor in [*net.parameters(), *net.buffers()]}
    for (name, axis), mask in masks.items():
        assert tensors[name].shape[axis] == sum(mask), (name, axis)


def check_all_ways(build, shape, ratios_of, order=("plan", "lazy", "cut", "lazy", "plan", "cut")):
    """Plans, masks and cuts in this order, each undone, and prunes by a configuration; returns the masks.

    Args:
        ratios_of: names of the weights that decide -> {name: ratio}.
    """
    net, inputs = built(build), random_inputs([shape])
    dense, wanted, cost = state(net), outputs(net, inputs), dygraph_flops(net, [shape])
    pruner = FPGMFilterPruner(net, shape)
    names = {tensor.name: name for name, tensor in net.named_parameters()}
    ratios = ratios_of(list(dict.fromkeys(names[c.master_name] for c in pruner.collections)))
    found, flops, results = [], [], []
    for way in order:
        how = {"plan": None, "lazy": "lazy", "cut": "impretive"}[way]
        plan = pruner.prune_vars(ratios, 0, apply=how)
        found.append(masks_of(plan))
        flops.append(plan.pruned_flops)
        if way == "plan":
            assert_same_bits(net, dense)
        else:
            results.append(outputs(net, inputs))
        if way == "cut":
            assert_shapes(net, found[-1])
            assert math.isclose(1 - dygraph_flops(net, [shape]) / cost, flops[-1], abs_tol=1e-9)
        pruner.restore()
        assert_same_bits(net, dense)
    assert all(masks == found[0] for masks in found)
    assert len(set(flops)) == 1
    run, bound = outputs, TOLERANCE
    if any(error(result, results[0]) >= TOLERANCE for result in results):  # it amplifies rounding
        run, bound = outputs_in_double, EXACT
        results = [in_double(net, pruner, ratios, how, inputs) for how in ("lazy", "impretive")]
        assert error(*results) < EXACT
    assert error(outputs(net, inputs), wanted) == 0
    configured = configure(build, shape, ratios, found[0])
    assert configured is None or error(run(configured, inputs), results[0]) < bound
    return found[0]


def in_double(net, pruner, ratios, how, inputs):
    """The outputs of a network that is masked, or cut, for a moment."""
    pruner.prune_vars(ratios, 0, apply=how)
    found = outputs_in_double(net, inputs)
    pruner.restore()
    return found


def configure(build, shape, ratios, masks):
    """The configuration's way: the same masks, cut; None where there are none."""
    net = built(build)
    options = PruneOptions(pruned_ratio=ratios, scope="layer")
    names = {name: tensor.name for name, tensor in [*net.named_parameters(), *net.named_buffers()]}
    if not masks:
        with pytest.raises(UserError, match="pruning would change nothing"):
            prune(net, options, [shape])
        return None
    net, record = prune(net, options, [shape])
    kept = {(names[name], int(axis)): index for name, axes in record["kept"].items() for axis, index in axes.items()}
    assert {key: np.flatnonzero(mask).tolist() for key, mask in masks.items()} == kept
    net.eval()
    return net

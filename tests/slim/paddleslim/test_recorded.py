"""PaddleSlim's pruners give a record that rebuilds what their plans have made."""

import json

import numpy as np
import paddle
import pytest

from ppcls_compress import models
from ppcls_compress.slim import FPGMFilterPruner, L1NormFilterPruner, recipe
from ppcls_compress.slim.cost import counted_parameters
from ppcls_compress.slim.options import PruneOptions, SlimOptions

SHAPE = [1, 3, 16, 16]


def build():
    return models.build("MobileNetV3_small_x0_35", class_num=4)


def parameters(model):
    return sum(int(np.prod(parameter.shape)) for parameter in counted_parameters(model))


@pytest.fixture(scope="module")
def pruned():
    """A network that two plans have cut, one after the other, its pruner, and plans that only zero and look."""
    model = build()
    pruner = FPGMFilterPruner(model, SHAPE)
    names = [collection.master_name for collection in pruner.collections]
    pruner.prune_vars(dict.fromkeys(names[:4], 0.25), axis=0)
    pruner.prune_vars(dict.fromkeys(names[4:9], 0.5), axis=0)
    pruner.prune_vars({names[9]: 0.5}, axis=0, apply="lazy")
    pruner.prune_vars({names[10]: 0.5}, axis=0, apply=None)
    return model, pruner


def test_a_record_rebuilds_what_several_plans_have_made(pruned):
    model, pruner = pruned
    record = json.loads(json.dumps(pruner.record()))
    again = recipe.rebuild(build(), record)
    state = model.state_dict()
    assert {name: value.shape for name, value in again.state_dict().items()} == {
        name: value.shape for name, value in state.items()
    }
    again.set_state_dict(state)
    images = paddle.to_tensor(np.random.default_rng(0).standard_normal((2, *SHAPE[1:]), np.float32))
    for network in (model, again):
        network.eval()
    np.testing.assert_array_equal(again(images).numpy(), model(images).numpy())


def test_a_record_tells_cost_and_criterion(pruned):
    model, pruner = pruned
    (step,) = pruner.record()["steps"]
    assert step["options"]["name"] == "fpgm"
    assert step["after"]["params"] == parameters(model)
    assert step["before"]["params"] == parameters(build())
    assert step["after"]["flops"] < step["before"]["flops"]


def test_one_plan_has_the_record_of_the_same_pruning_by_options():
    model = build()
    pruner = L1NormFilterPruner(model, SHAPE)
    ratios = {collection.master_name: 0.3 for collection in pruner.collections}
    pruner.prune_vars(ratios, axis=0)
    other = build()
    (found,) = pruner.record()["steps"]
    options = SlimOptions(PruneOptions(name="l1_norm", pruned_ratio=0.3, scope="layer"))
    (expected,) = recipe.compress(other, options, [SHAPE])[1]["steps"]
    assert found["after"] == expected["after"]
    assert {name: {axis: len(kept) for axis, kept in axes.items()} for name, axes in found["kept"].items()} == {
        name: {axis: len(kept) for axis, kept in axes.items()} for name, axes in expected["kept"].items()
    }
    assert sorted(map(str, found["attributes"])) == sorted(map(str, expected["attributes"]))


def test_what_is_restored_or_only_looked_at_is_in_no_record():
    model = build()
    pruner = FPGMFilterPruner(model, SHAPE)
    assert pruner.record()["steps"] == []
    name = pruner.collections[0].master_name
    with pruner.network.undone():
        pruner.prune_var(name, 0, 0.5)
        assert len(pruner.record()["steps"]) == 1
    assert pruner.record()["steps"] == []
    pruner.prune_var(name, 0, 0.5)
    pruner.restore()
    assert pruner.record()["steps"] == []

"""What an optimizer remembers of a parameter is cut with it, and comes back with it."""

import numpy as np
import paddle
import pytest
from paddle import nn
from support.pruning import random_inputs

from ppcls_compress.errors import UserError
from ppcls_compress.slim import L1NormFilterPruner
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune import prune
from ppcls_compress.slim.prune.cut.surgery import Surgery

SHAPE = [1, 3, 4, 4]


def chain():
    with paddle.utils.unique_name.guard():
        return nn.Sequential(nn.Conv2D(3, 16, 1), nn.ReLU(), nn.Conv2D(16, 8, 1), nn.ReLU(), nn.Conv2D(8, 4, 1))


def step(net, optimizer, scale=1.0):
    (scale * net(random_inputs([SHAPE])[0]).square().mean()).backward()
    optimizer.step()
    optimizer.clear_grad()


def momentum(net):
    return paddle.optimizer.Momentum(0.1, parameters=net.parameters())


def velocities(net, optimizer):
    table = optimizer._accumulators["velocity"]
    return [table[net[layer].weight.name].numpy() for layer in (0, 2, 4)]


def kept(net, plan, name, axis):
    mask = next(m for m in plan.masks[net.state_dict()[name].name] if m.dims == axis)
    return np.flatnonzero(np.asarray(mask.mask))


def test_states_follow_plans_that_are_applied_one_after_the_other():
    net = chain()
    optimizer = momentum(net)
    step(net, optimizer)
    dense = velocities(net, optimizer)
    pruner = L1NormFilterPruner(net, SHAPE, opt=optimizer)
    first = kept(net, pruner.prune_var("0.weight", 0, 0.5), "0.weight", 0)
    second = kept(net, pruner.prune_var("2.weight", 0, 0.5), "2.weight", 0)
    wanted = [dense[0][first], dense[1][second][:, first], dense[2][:, second]]
    for found, value in zip(velocities(net, optimizer), wanted, strict=True):
        np.testing.assert_array_equal(found, value)
    step(net, optimizer)


def test_a_loaded_state_is_cut_before_the_first_step_and_comes_back():
    net = chain()
    optimizer = momentum(net)
    with paddle.utils.unique_name.guard():
        step(net, optimizer)
    loaded, dense = optimizer.state_dict(), velocities(net, optimizer)
    fresh = momentum(net)
    with paddle.utils.unique_name.guard():  # or the states would get other names than those that were saved
        fresh.set_state_dict(loaded)
        pruner = L1NormFilterPruner(net, SHAPE, opt=fresh)
        plan = pruner.prune_var("0.weight", 0, 0.5)
        plan.restore(net, opt=fresh)
        for name, value in fresh._accumulators_holder.items():
            np.testing.assert_array_equal(value.numpy(), loaded[name].numpy())
        _, record = prune(net, PruneOptions(pruned_ratio=0.5), [SHAPE], optimizer=fresh)
        step(net, fresh, scale=0.0)
    rows = record["kept"]["0.weight"]["0"]
    np.testing.assert_allclose(velocities(net, fresh)[0], 0.9 * dense[0][rows], rtol=1e-6)
    assert loaded[f"{net[0].weight.name}_velocity_0"].shape == [16, 3, 1, 1]


def test_several_states_of_the_parameters_shape_in_one_tensor():
    net = chain()
    optimizer = paddle.optimizer.ASGD(0.1, batch_num=3, parameters=net.parameters())
    step(net, optimizer)
    prune(net, PruneOptions(pruned_ratio=0.5), [SHAPE], optimizer=optimizer)
    assert optimizer._accumulators["y"][net[0].weight.name].shape[-4:] == net[0].weight.shape
    step(net, optimizer)


@pytest.mark.parametrize("by_plan", [True, False])
def test_restore_warns_of_an_optimizer_that_knows_the_pruned_network_only(by_plan):
    net = chain()
    optimizer = momentum(net)
    pruner = L1NormFilterPruner(net, SHAPE, opt=optimizer)
    plan = pruner.prune_var("0.weight", 0, 0.5)
    step(net, optimizer)
    with pytest.warns(UserWarning, match=r"velocity of conv2d_0.w_0 is \[8, 3, 1, 1\].*make a new optimizer"):
        plan.restore(net, opt=optimizer) if by_plan else pruner.restore()
    assert net[0].weight.shape == [16, 3, 1, 1]


def test_a_state_of_another_network_is_refused_and_nothing_changes():
    net = chain()
    optimizer = momentum(net)
    step(net, optimizer)
    state = optimizer._accumulators["velocity"][net[2].weight.name]
    Surgery().replace(state, paddle.zeros([9, 16, 1, 1]))
    with pytest.raises(UserError, match=r"velocity of conv2d_1.w_0 is \[9, 16, 1, 1\], its parameter \[8, 16, 1, 1\]"):
        L1NormFilterPruner(net, SHAPE, opt=optimizer).prune_var("0.weight", 0, 0.5)
    assert net[0].weight.shape == [16, 3, 1, 1]
    assert velocities(net, optimizer)[0].shape == (16, 3, 1, 1)


def bits(net, optimizer):
    tensors = {**net.state_dict(), **{k: v for k, v in optimizer.state_dict().items() if isinstance(v, paddle.Tensor)}}
    masters = {f"master {name}": value for name, value in optimizer._master_weights.items()}
    return {name: value.numpy() for name, value in (tensors | masters).items()}


@pytest.mark.parametrize("name", ["Momentum", "Adam", "AdamW"])
@pytest.mark.parametrize("masters", [True, False])
@pytest.mark.parametrize("by_plan", [True, False])
def test_restore_forgets_what_was_trained_since(name, masters, by_plan):
    with paddle.utils.unique_name.guard():
        net = nn.Sequential(nn.Conv2D(3, 16, 1), nn.BatchNorm2D(16), nn.ReLU(), nn.Conv2D(16, 8, 1), nn.Conv2D(8, 4, 1))
    optimizer = getattr(paddle.optimizer, name)(0.01, parameters=net.parameters())

    def train():
        step(net, optimizer)
        step(net, optimizer)
        for master in optimizer._master_weights.values():
            master.set_value(master - 0.1)

    train()
    if masters:  # Paddle makes them for half precision, which it cannot train on a CPU
        optimizer._master_weights.update({p.name: p.detach().clone() for p in net.parameters()})
    before = bits(net, optimizer)
    pruner = L1NormFilterPruner(net, SHAPE, opt=optimizer)
    for ways in (["impretive"], ["lazy"], ["impretive", "lazy"]):
        for layer, apply in zip(("0.weight", "3.weight"), ways, strict=False):
            plan = pruner.prune_var(layer, 0, 0.5, apply=apply)
            train()
        after = bits(net, optimizer)
        assert sum(not np.array_equal(value, before[key]) for key, value in after.items()) > len(before) // 2
        plan.restore(net, opt=optimizer) if by_plan else pruner.restore()
        after = bits(net, optimizer)
        assert before.keys() == after.keys()
        for key, value in before.items():
            np.testing.assert_array_equal(value, after[key], err_msg=key)
    train()


def test_restore_warns_of_what_an_optimizer_remembers_since_even_if_it_fits():
    net = chain()
    optimizer = momentum(net)
    pruner = L1NormFilterPruner(net, SHAPE, opt=optimizer)
    pruner.prune_var("0.weight", 0, 0.5, apply="lazy")
    step(net, optimizer)
    with pytest.warns(UserWarning, match="velocity.* was not there before: it started on the pruned one"):
        pruner.restore()

"""Several plans on one network: what they cut adds up, and `restore` undoes all of it, as PaddleSlim's does."""

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from support.pruning import Net, error, outputs, random_inputs, randomize

from ppcls_compress.errors import UserError
from ppcls_compress.slim import L1NormFilterPruner

SHAPE = [1, 3, 8, 8]


def branches():
    """Two convolutions whose channels meet in one axis, behind a size that the network has written down."""

    def middle(net, x):
        x = paddle.concat([net.a(x), net.b(x)], axis=1)
        return net.c(x).reshape([0, net.width, -1]).reshape([0, net.width, 8, 8])

    net = Net(middle, a=nn.Conv2D(16, 8, 1), b=nn.Conv2D(16, 8, 1), c=nn.Conv2D(16, 12, 1), out=12)
    net.width = 12
    return randomize(net)


def bits(net):
    return {name: value.numpy() for name, value in net.state_dict().items()}


def assert_dense(net, before):
    after = bits(net)
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name])
    assert (net.a._out_channels, net.c._in_channels, net.width) == (8, 16, 12)


@pytest.mark.parametrize("order", ["abc", "cba", "acb"])
def test_one_plan_after_the_other_is_all_of_them_at_once(order):
    net, inputs = branches(), random_inputs([SHAPE])
    before = bits(net)
    pruner = L1NormFilterPruner(net, SHAPE)
    pruner.prune_vars({f"{name}.weight": 0.5 for name in order}, 0)
    wanted = outputs(net, inputs)
    pruner.restore()
    plans = [pruner.prune_var(f"{name}.weight", 0, 0.5, verify=True) for name in order]
    assert net.c.weight.shape == [6, 8, 1, 1]
    assert net.width == 6
    assert error(outputs(net, inputs), wanted) < 1e-5
    plans[0].restore(net)  # the oldest, out of its turn
    assert_dense(net, before)
    plans[1].apply(net)
    assert net.c.weight.shape in ([12, 12, 1, 1], [6, 16, 1, 1])
    plans[2].restore(net)
    assert_dense(net, before)


def test_restore_undoes_single_parameters_and_lazy_plans_too():
    net = branches()
    before = bits(net)
    pruner = L1NormFilterPruner(net, SHAPE)
    pruner.prune_var("a.weight", 0, 0.5)
    pruner.prune_vars({"b.weight": 0.5}, 0, apply="lazy")
    assert not net.b.weight.numpy().any(axis=(1, 2, 3)).all()
    assert net.c.weight.shape == [12, 12, 1, 1]
    pruner.restore()
    assert_dense(net, before)
    pruner.restore()
    assert_dense(net, before)


def test_filters_that_are_gone_cannot_go_again():
    net, inputs = branches(), random_inputs([SHAPE])
    pruner = L1NormFilterPruner(net, SHAPE)
    pruner.prune_vars({"a.weight": 0.5}, 0)
    wanted = outputs(net, inputs)
    for apply in ("impretive", "lazy"):
        with pytest.raises(UserError, match=r"a.weight: an earlier plan has cut these channels out; restore it first"):
            pruner.prune_vars({"a.weight": 0.5}, 0, apply=apply)
    np.testing.assert_array_equal(outputs(net, inputs)[0], wanted[0])
    pruner.restore()
    pruner.prune_vars({"a.weight": 0.25}, 0)
    assert net.a.weight.shape[0] == 6


def test_sensitivities_of_a_pruned_network_leave_it_pruned():
    net = branches()
    pruner = L1NormFilterPruner(net, SHAPE)
    pruner.prune_var("a.weight", 0, 0.5)
    pruner.sensitive(lambda: 1.0, target_vars=["b.weight"])
    assert net.c.weight.shape == [12, 12, 1, 1]


def test_sensitivities_that_remove_nothing_undo_nothing():
    def middle(net, x):
        return net.a(x) * F.sigmoid(net.up(F.relu(net.down(x.mean([2, 3], keepdim=True)))))

    net = Net(middle, a=nn.Conv2D(16, 16, 1), down=nn.Conv2D(16, 4, 1), up=nn.Conv2D(4, 16, 1))
    pruner = L1NormFilterPruner(randomize(net), SHAPE)
    pruner.prune_vars({"stem.weight": 0.5}, 0)
    scored = []
    pruner.sensitive(lambda: scored.append(tuple(net.stem.weight.shape)) or 1.0, target_vars=["down.weight"])
    assert len(scored) == 10  # the network as it is, and nine ratios: a tenth of 4 filters is none
    assert set(scored) == {(8, 3, 3, 3)}
    assert net.stem.weight.shape[0] == 8
    pruner.restore()
    assert net.stem.weight.shape[0] == 16


def test_pruners_that_do_not_know_of_each_other_refuse_to_break_the_network():
    net, inputs = branches(), random_inputs([SHAPE])
    before = bits(net)
    first = L1NormFilterPruner(net, SHAPE)
    plan = first.prune_var("a.weight", 0, 0.5)
    second = L1NormFilterPruner(net, SHAPE)
    later = second.prune_var("a.weight", 0, 0.5)
    assert net.a.weight.shape[0] == 2
    with pytest.raises(UserError, match="another pruner has changed the network since"):
        plan.restore(net)
    with pytest.raises(UserError, match="changed since this pruner traced it; make a new pruner"):
        first.prune_var("b.weight", 0, 0.5)
    outputs(net, inputs)
    later.restore(net)
    assert net.a.weight.shape[0] == 4
    plan.restore(net)
    assert_dense(net, before)
    with pytest.raises(UserError, match="made for another network"):
        plan.restore(branches())


def test_verification_finds_a_network_that_computes_something_else_once_pruned():
    def middle(net, x):  # no trace can see it
        return x * (3 if paddle.in_dynamic_mode() and x.shape[1] < 16 else 1)

    net = randomize(Net(middle))
    pruner = L1NormFilterPruner(net, SHAPE)
    with pytest.raises(UserError, match="the pruned network is not the dense one without the removed channels"):
        pruner.prune_vars({"stem.weight": 0.5}, 0, verify=True)
    assert net.stem.weight.shape[0] == 16
    L1NormFilterPruner(net, SHAPE).prune_vars({"stem.weight": 0.5}, 0)
    assert net.stem.weight.shape[0] == 8
    with pytest.raises(UserError, match=r"verify: outputs that lose channels \(skip_leaves=False\)"):
        L1NormFilterPruner(net, SHAPE, skip_leaves=False).prune_var("stem.weight", 0, 0.5, verify=True)


def test_a_branch_on_the_number_of_channels_is_known_before_any_plan():
    def middle(net, x):
        return x * (2.0 if net.stem.weight.shape[0] < 16 else 1.0)

    pruner = L1NormFilterPruner(randomize(Net(middle)), SHAPE)
    assert pruner.prune_vars({"stem.weight": 0.5}, 0, apply=None).masks == {}
    net = pruner.model
    pruner.prune_vars({"stem.weight": 0.5, "last.weight": 0.5}, 0)
    assert (net.stem.weight.shape[0], net.last.weight.shape[0]) == (16, 4)


def test_a_buffer_that_holds_nothing_yet_is_no_change_of_the_network():
    """An LSTM has one, which is filled at the first training step."""

    def middle(net, x):
        tokens = net.a(x).flatten(2).transpose([0, 2, 1])
        return net.c(net.lstm(tokens)[0].transpose([0, 2, 1]).reshape([-1, 16, 8, 8]))

    net = randomize(Net(middle, a=nn.Conv2D(16, 8, 1), lstm=nn.LSTM(8, 16), c=nn.Conv2D(16, 12, 1), out=12))
    inputs = random_inputs([SHAPE])
    dense = outputs(net, inputs)
    pruner = L1NormFilterPruner(net, SHAPE)
    pruner.prune_var("stem.weight", 0, 0.5)
    assert net.stem.weight.shape[0] == 8
    net.train()
    net(*inputs)
    net.eval()
    pruner.restore()
    np.testing.assert_array_equal(outputs(net, inputs)[0], dense[0])

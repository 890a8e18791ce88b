"""What a plan's masks say is what is cut, whoever wrote them."""

import numpy as np
import paddle
import pytest
from paddle import nn
from support.pruning import Net, outputs, random_inputs, randomize

from ppcls_compress.errors import UserError
from ppcls_compress.slim import L1NormFilterPruner, PruningMask, PruningPlan

SHAPE = [1, 3, 8, 8]
HALF = np.array([1, 0] * 8)


def network():
    return randomize(Net(lambda n, x: n.g(x), g=nn.Conv2D(16, 16, 1, groups=4)))


def by_hand(net, **masks):
    plan = PruningPlan()
    for name, (axis, mask) in masks.items():
        plan.add(net.state_dict()[name.replace("__", ".")].name, PruningMask(axis, np.array(mask), 0.5))
    return plan


@pytest.mark.parametrize("lazy", [True, False])
def test_a_mask_that_was_changed_decides_for_all_that_goes_together_with_it(lazy):
    net = randomize(Net(lambda n, x: x))
    weight, scale, reader = (net.state_dict()[name].numpy() for name in ("stem.weight", "norm.weight", "last.weight"))
    plan = L1NormFilterPruner(net, SHAPE).prune_var("stem.weight", 0, 0.5, apply=None)
    mask = plan.masks[net.stem.weight.name][0]
    was = np.asarray(mask.mask)
    mask.mask = 1 - was
    stays = was == 0
    plan.apply(net, lazy=lazy)
    found = net.stem.weight.numpy(), net.norm.weight.numpy(), net.last.weight.numpy()
    if lazy:
        found = found[0][stays], found[1][stays], found[2][:, stays]
        assert not net.stem.weight.numpy()[~stays].any()
    for value, wanted in zip(found, (weight[stays], scale[stays], reader[:, stays]), strict=True):
        np.testing.assert_array_equal(value, wanted)
    plan.restore(net)
    np.testing.assert_array_equal(net.stem.weight.numpy(), weight)


def test_two_changed_masks_that_disagree_are_refused():
    net = randomize(Net(lambda n, x: x))
    plan = L1NormFilterPruner(net, SHAPE).prune_var("stem.weight", 0, 0.5, apply=None)
    plan.masks[net.stem.weight.name][0].mask = HALF
    plan.masks[net.norm.weight.name][0].mask = 1 - HALF
    with pytest.raises(UserError, match=r"mask of stem.weight, axis 0: position 1 is kept with the channels that it"):
        plan.apply(net)
    assert net.stem.weight.shape[0] == 16


def test_share_of_the_flops_follows_the_masks():
    net = randomize(Net(lambda n, x: x))
    pruner = L1NormFilterPruner(net, SHAPE)
    both = pruner.prune_vars({"stem.weight": 0.5, "last.weight": 0.5}, 0, apply=None)
    plan = pruner.prune_var("stem.weight", 0, 0.5, apply=None)
    plan.extend(pruner.prune_var("last.weight", 0, 0.5, apply=None))
    assert plan.pruned_flops == both.pruned_flops
    plan.apply(net)
    assert (net.last.weight.shape, net.fc.weight.shape) == ([4, 8, 1, 1], [4, 5])


def test_two_masks_on_one_axis_keep_what_both_keep():
    plan, other = PruningPlan(), PruningPlan()
    plan.add("w", PruningMask(0, np.array([1, 0, 1, 1]), 0.25))
    other.add("w", PruningMask(0, np.array([1, 1, 0, 1]), 0.25))
    other.add("w", PruningMask(1, np.array([0, 1]), 0.5))
    plan.extend(other)
    assert [(m.dims, m.mask.tolist()) for m in plan.masks["w"]] == [(0, [1, 0, 0, 1]), (1, [0, 1])]


@pytest.mark.parametrize("form", [list, tuple, np.array], ids=["list", "tuple", "array"])
def test_masks_stay_in_the_form_they_are_given_in(form):
    plan, other = PruningPlan(), PruningPlan()
    plan.add("w", PruningMask(0, form([1, 0, 1, 1]), 0.25, None))
    other.add("w", PruningMask(0, np.array([1, 1, 0, 1]), 0.25, None))
    other.add("v", PruningMask(0, form([0, 1]), 0.5, None))
    plan.extend(other)
    found = [plan.masks[name][0].mask for name in ("w", "v")]
    assert [type(mask) for mask in found] == [type(form([1]))] * 2
    assert [list(mask) for mask in found] == [[1, 0, 0, 1], [0, 1]]
    assert form is np.array or found == [form([1, 0, 0, 1]), form([0, 1])]
    if form is not tuple:
        found[1][0] = 1
        assert list(other.masks["v"][0].mask) == [0, 1]


def test_a_plan_made_by_hand_zeroes_or_cuts_what_it_names_and_comes_back():
    net, inputs = network(), random_inputs([SHAPE])
    optimizer = paddle.optimizer.Momentum(0.1, parameters=net.parameters())
    net(inputs[0]).sum().backward()
    optimizer.step()
    optimizer.clear_grad()
    dense = outputs(net, inputs)[0]
    plan = by_hand(net, stem__weight=(0, HALF))
    plan.apply(net, lazy=True)
    rows = np.abs(net.stem.weight.numpy()).sum((1, 2, 3)) > 0
    assert (rows == (HALF == 1)).all()
    plan.restore(net)
    np.testing.assert_array_equal(outputs(net, inputs)[0], dense)
    groups = [1] * 8 + [0] * 8
    names = ["stem.weight", "stem.bias", "norm.weight", "norm.bias", "norm._mean", "norm._variance"]
    whole = by_hand(net, **{name.replace(".", "__"): (0, groups) for name in [*names, "g.weight", "g.bias"]})
    whole.add(net.last.weight.name, PruningMask(1, np.array(groups), 0.5))
    whole.apply(net, opt=optimizer)
    assert (net.g._groups, net.g.weight.shape, net.stem._out_channels) == (2, [8, 4, 1, 1], 8)
    net(inputs[0]).sum().backward()
    optimizer.step()
    optimizer.clear_grad()
    whole.restore(net, opt=optimizer)
    np.testing.assert_array_equal(outputs(net, inputs)[0], dense)


@pytest.mark.parametrize(
    ("masks", "says"),
    [
        ({"stem__weight": (0, [1, 0])}, r"mask of stem.weight: \[2\] entries for axis 0 of shape \[16, 3, 3, 3\]"),
        ({"stem__weight": (5, HALF)}, r"mask of stem.weight: axis 5 is none of the 4 of shape"),
        ({"stem__weight": (0, 0 * HALF)}, "mask of stem.weight: nothing of axis 0 would stay"),
        ({"g__weight": (0, [1] * 7 + [0] * 9)}, r"mask of g.weight: leaves \[4, 3, 0, 0\] positions of its 4 groups"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, says):
    net = network()
    before = {name: value.numpy() for name, value in net.state_dict().items()}
    with pytest.raises(UserError, match=says):
        by_hand(net, **masks).apply(net)
    stray = PruningPlan()
    stray.add("conv2d_99.w_0", PruningMask(0, HALF, 0.5))
    with pytest.raises(UserError, match="mask of conv2d_99.w_0: this network has no such parameter"):
        stray.apply(net)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_a_mask_of_another_length_is_told_when_the_plan_is_looked_at_too():
    plan = L1NormFilterPruner(network(), SHAPE).prune_var("stem.weight", 0, 0.5, apply=None)
    (mask,) = plan.masks[next(iter(plan.masks))][:1]
    mask.mask = np.zeros(3)
    with pytest.raises(UserError, match=r"\[3\] entries for axis 0"):
        str(plan)


def secretive(net, x):
    """Thirteen channels are something else: no trace tells before they are thirteen."""
    return x * 2 if int(np.asarray(x.shape[1])) == 13 else x


@pytest.mark.parametrize("lazy", [False, True])
def test_a_plan_that_has_to_change_is_made_anew_and_says_so(lazy):
    net = randomize(Net(secretive))
    pruner = L1NormFilterPruner(net, SHAPE)
    plan = pruner.prune_vars({"stem.weight": 3 / 16, "last.weight": 0.5}, 0, apply=None)
    assert plan.contains(net.stem.weight.name)
    if lazy:  # another plan has taught it meanwhile
        with pytest.raises(UserError, match="nothing of this plan can be cut out"):
            pruner.prune_var("stem.weight", 0, 3 / 16)
    with pytest.warns(UserWarning, match="it was made anew, and its masks are what was done"):
        plan.apply(net, lazy=lazy)
    assert (net.stem.weight.shape[0], net.last.weight.shape[0]) == (16, 8 if lazy else 4)
    assert not plan.contains(net.stem.weight.name)
    assert sum(plan.masks[net.last.weight.name][0].mask) == 4
    assert plan.pruned_flops == pruner.prune_vars({"last.weight": 0.5}, 0, apply=None).pruned_flops


def test_a_changed_mask_names_all_that_it_took_along_once_it_is_applied():
    net = randomize(Net(lambda n, x: x))
    plan = L1NormFilterPruner(net, SHAPE).prune_var("stem.weight", 0, 0.5, apply=None)
    plan.masks[net.stem.weight.name][0].mask = HALF.tolist()
    plan.apply(net)
    assert plan.masks[net.stem.weight.name][0].mask == HALF.tolist()
    for masks in plan.masks.values():
        assert np.asarray(masks[0].mask).tolist() == HALF.tolist()


def test_masks_that_leave_nothing_of_a_part_are_refused():
    def middle(net, x):
        left, right = paddle.split(x, net.sections, axis=1)
        return paddle.concat([left * 2, right], 1)

    net = Net(middle)
    net.sections = [12, 4]
    plan = L1NormFilterPruner(net, SHAPE).prune_var("stem.weight", 0, 0.5, apply=None)
    plan.masks[net.stem.weight.name][0].mask = np.array([1] * 12 + [0] * 4)
    with pytest.raises(UserError, match=r"masks of stem.weight: nothing would be left of what the network cuts out"):
        plan.apply(net)
    assert net.stem.weight.shape[0] == 16

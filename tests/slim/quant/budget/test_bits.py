"""Bits of weights by budget: the solver against all choices, and the choice in a network, its record and its log."""

import itertools
import json

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.slim import quant, recipe
from ppcls_compress.slim.options import QuantOptions, SlimOptions
from ppcls_compress.slim.quant.budget.choose import choose, measure
from ppcls_compress.slim.quant.budget.solver import solve


def images() -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(2).standard_normal((8, 3, 8, 8), np.float32))


class Network(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        paddle.seed(5)
        self.first, self.act, self.wide = nn.Conv2D(3, 8, 3), nn.ReLU(), nn.Conv2D(8, 16, 3)
        self.pool, self.last = nn.AdaptiveAvgPool2D(1), nn.Linear(16, 5)

    def forward(self, x):
        return self.last(self.pool(self.wide(self.act(self.first(x)))).flatten(1))


SIZES = {"first": 216, "wide": 1152, "last": 80}


@pytest.mark.parametrize("seed", range(6))
def test_the_solver_finds_what_trying_all_finds(seed):
    rng = np.random.default_rng(seed)
    losses = np.sort(rng.exponential(size=(6, 4)), axis=1)[:, ::-1] * rng.exponential(size=(6, 1))
    costs = rng.integers(1, 50, (6, 1)) * np.array([2, 4, 8, 32])
    budget = int(rng.uniform(0.07, 0.6) * costs[:, -1].sum())
    found = solve(losses, costs, budget)
    choices = np.array(list(itertools.product(range(4), repeat=6)))
    rows = np.arange(6)
    spent, lost = costs[rows, choices].sum(axis=1), losses[rows, choices].sum(axis=1)
    assert costs[rows, found].sum() <= budget
    assert losses[rows, found].sum() == pytest.approx(lost[spent <= budget].min())


def test_the_solver_takes_all_or_nothing_where_the_budget_says_so():
    losses, costs = [[3.0, 1.0, 0.0]] * 2, [[1, 2, 4]] * 2
    assert solve(losses, costs, 8) == [2, 2]
    assert solve(losses, costs, 2) == [0, 0]
    assert solve(losses, costs, 1) is None
    many = np.random.default_rng(0).exponential(size=(120, 4))
    assert len(solve(np.sort(many)[:, ::-1], np.array([[2, 4, 8, 32]] * 120), 1000)) == 120


def test_losses_are_changes_of_the_scores():
    net = Network()
    net.eval()
    exact = net(images()).numpy().astype(np.float64)
    found = {item.layer: item for item in measure(Network(), QuantOptions(name="qat"), [images()])}
    assert {name: item.weights for name, item in found.items()} == SIZES
    assert [found[name].multiply_adds for name in SIZES] == [216 * 36, 1152 * 16, 80]
    weight = net.last.weight.numpy()
    limit = np.abs(weight).max(axis=0)
    net.last.weight.set_value((np.round(weight / limit * 7) * limit / 7).astype(np.float32))
    expected = np.square(net(images()).numpy() - exact).mean() / exact.var()
    assert found["last"].losses[1] == pytest.approx(expected, rel=1e-3)
    assert all(item.losses[0] > item.losses[1] > item.losses[2] > item.losses[3] == 0 for item in found.values())


@pytest.mark.parametrize("name", ["ptq", "qat", "pact", "lsq"])
def test_the_choice_keeps_the_budget_and_stands_in_the_record(name):
    budget = {"target_bytes": 0.2}
    options = SlimOptions(quant=QuantOptions(name=name, bits=budget))
    model, record = recipe.compress(
        Network(), options, [[2, 3, 8, 8]], context=recipe.Context(lambda: iter([images(), images()]))
    )
    (step,) = json.loads(json.dumps(record))["steps"]
    bits = step["bits"]
    assert set(bits) == set(SIZES)
    assert sum(SIZES[layer] * count for layer, count in bits.items()) <= 0.2 * 32 * sum(SIZES.values())
    assert any(count > 2 for count in bits.values())
    found = {layer: part._fake_quant_weight.bits for layer, part in quant.quant_layers(model).items()}
    assert found == {layer: count for layer, count in bits.items() if count < 32}
    assert any(line.startswith("  weights on ") for line in recipe.describe(step))
    again = recipe.rebuild(Network(), {"version": 1, "steps": [step]})
    again.set_state_dict(model.state_dict())
    model.eval(), again.eval()
    np.testing.assert_array_equal(again(images()).numpy(), model(images()).numpy())
    recipe.keep_wanted(again, options, {"version": 1, "steps": [step]})


def test_rules_and_skipped_layers_stay_and_operations_count_too():
    rule = [{"layers": ["first"], "weight_bits": 6}]
    options = QuantOptions(name="ptq", bits={"target_bit_operations": 0.04}, per_layer=rule, skip=["last"])
    assert choose(Network(), options, [images()]) == {"wide": 4}
    wider = QuantOptions(name="ptq", bits={"target_bit_operations": 0.07}, per_layer=rule, skip=["last"])
    assert choose(Network(), wider, [images()]) == {"wide": 8}


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match=r"bits.target_bytes: 0.05 is less than 2 bits take, 0.062"):
        choose(Network(), QuantOptions(name="qat", bits={"target_bytes": 0.05}), [images()])
    rule = [{"layers": ["*"], "weight_bits": 4}]
    ruled = QuantOptions(name="qat", bits={"target_bytes": 0.1}, per_layer=rule)
    with pytest.raises(UserError, match="per_layer and skip name all layers"):
        choose(Network(), ruled, [images()])
    for bits, message in (
        ({}, "one of target_bytes and target_bit_operations is needed, found 0"),
        ({"target_bytes": 1.5}, "bits.target_bytes: 1.5 is not a share"),
        ({"target_byte": 0.5}, "target_bytes"),
        (4, "bits: a mapping such as"),
    ):
        with pytest.raises(ConfigError, match=message):
            QuantOptions(bits=bits)
    with pytest.raises(ConfigError, match="bits: .* has no effect"):
        QuantOptions(name="qat", backend="paddleslim", bits={"target_bytes": 0.2})

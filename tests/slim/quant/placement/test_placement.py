import copy
import json

import numpy as np
import paddle
import pytest
from paddle import nn
from support.placed import INPUTS, images, logits, placed_network, prepared, train

from ppcls_compress import models
from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.slim import quant, recipe
from ppcls_compress.slim.options import PruneOptions, QuantOptions, SlimOptions
from ppcls_compress.slim.quant.input_grid import quantizer_grid
from ppcls_compress.slim.quant.placement import placement

DEPLOY = {"placement": "deploy"}
QUANTIZERS = [
    {"name": "pact"},
    {"name": "lsq"},
    {"name": "qat"},
    {"name": "qat", "activation_quantize_type": "range_abs_max"},
    {"name": "ptq"},
    {"name": "pact", "asymmetric": True, "depthwise_ranges": "channel"},
    {"name": "lsq", "asymmetric": True, "depthwise_ranges": "channel"},
    {"name": "qat", "asymmetric": True, "depthwise_ranges": "channel"},
]


@pytest.fixture(scope="module")
def network():
    return placed_network()


def test_every_tensor_of_the_integer_graph_is_a_place(network):
    _, record = prepared(QuantOptions(**DEPLOY), copy.deepcopy(network))
    found = {(row["layer"], row["side"]): row for row in record["places"]}
    outputs = {layer: set(row["readers"]) for (layer, side), row in found.items() if side == "output"}
    assert outputs == {
        "stem.conv": set(),
        "stem.act": {"block.expand_conv.conv"},  # and the residual sum
        "block.expand_conv.conv": set(),
        "block.bottleneck_conv.conv": set(),
        "block.bottleneck_conv.act": set(),  # the gate's pooling, and the product
        "block.mid_se.gate": set(),  # the convolution before it computes it along
        "block.linear_conv.conv": set(),
        "block": {"joined.conv.conv"},  # the sum; max pooling only moves its elements
        "joined.conv.act": set(),
        "joined": {"left.conv", "right.conv"},  # the concatenation
        "left.conv": set(),
        "right.conv": set(),
        "relu": set(),  # not the sum before it
    }
    assert {layer for layer, side in found if side == "input"} == {
        "stem.conv",
        "block.bottleneck_conv.conv",
        "block.mid_se.conv1",
        "block.mid_se.conv2",
        "block.linear_conv.conv",
        "fc",
    }
    assert record["unlearned"] == []
    assert {layer for (layer, side), row in found.items() if row["unit_range"]} == {"block.mid_se.gate"}
    assert {layer for (layer, side), row in found.items() if row["non_negative"]} == {
        "block.mid_se.gate",
        "block.mid_se.conv2",
        "joined.conv.act",
        "relu",
        "fc",
    }


def test_batch_norms_are_folded(network):
    model, record = prepared(QuantOptions(**DEPLOY), copy.deepcopy(network))
    assert len(record["folded"]) == 7
    assert not any(isinstance(layer, nn.BatchNorm2D) for layer in model.sublayers())


@pytest.mark.parametrize("kind", QUANTIZERS, ids=lambda kind: "_".join(map(str, kind.values())))
def test_each_quantizer_trains_reloads_strictly_and_converts_back(network, kind):
    model, record = prepared(QuantOptions(**DEPLOY, **kind), copy.deepcopy(network))
    if kind["name"] != "ptq":
        before = {name: value.numpy() for name, value in model.state_dict().items()}
        train(model)
        changed = {name for name, value in model.state_dict().items() if (value.numpy() != before[name]).any()}
        assert any("joined._fake_quant_output" in name for name in changed)
    expected = logits(model, images(8))
    fresh = quant.apply_record(placed_network(seed=1), json.loads(json.dumps(record)))
    assert not any(fresh.set_state_dict(model.state_dict()))
    assert set(fresh.state_dict()) == set(model.state_dict())
    fresh.eval()
    np.testing.assert_array_equal(logits(fresh, images(8)), expected)
    np.testing.assert_allclose(logits(quant.to_inference(model), images(8)), expected, atol=1e-5)
    plain = quant.convert(fresh)
    assert not any("fake_quant" in name for name in plain.state_dict())
    assert not placement.outputs(plain)
    assert not np.array_equal(logits(plain, images(8)), expected)


def outputs_of(layer, model):
    seen = []
    hook = layer.register_forward_post_hook(lambda _, inputs, output: seen.append(output.numpy()))
    logits(model, 3 * images(8))
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("kind", QUANTIZERS, ids=lambda kind: "_".join(map(str, kind.values())))
def test_outputs_lie_on_the_grid_of_integer_kernels(network, kind):
    model, _ = prepared(QuantOptions(**DEPLOY, **kind), copy.deepcopy(network))
    for name, layer in placement.outputs(model).items():
        seen = outputs_of(layer, model)
        quantizer = placement.quantizer_of(layer)
        grid = quantizer_grid(quantizer)
        integers = seen / grid.scale
        np.testing.assert_allclose(integers, np.rint(integers), atol=1e-2, err_msg=name)
        assert grid.low <= np.rint(integers).min() <= np.rint(integers).max() <= grid.high
        assert grid.high - grid.low == 255


def test_what_cannot_be_negative_has_a_one_sided_grid(network):
    for kind in QUANTIZERS:
        grids = quant.grids(prepared(QuantOptions(**DEPLOY, **kind), copy.deepcopy(network))[0])
        assert grids["fc"].input.unsigned
        assert not grids["left.conv"].input.unsigned
        assert grids["left.conv"].input == grids["right.conv"].input


class Naked(nn.Layer):
    """Its sum is nobody's result by itself."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2D(3, 4, 3, padding=1), nn.Conv2D(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = self.first(x)
        x = x + self.second(x)
        return self.fc(paddle.flatten((x * x).mean([2, 3]), 1))


def test_what_no_layer_gives_is_named_and_stays_float():
    _, record = prepared(QuantOptions(**DEPLOY), Naked())
    assert record["unlearned"] == [{"layer": "", "op": "add"}, {"layer": "", "op": "multiply"}]
    assert "add in the network" in "\n".join(recipe.describe(record))
    assert {(row["layer"], row["side"]) for row in record["places"]} == {
        ("first", "input"),
        ("first", "output"),
        ("second", "output"),
        ("fc", "input"),
    }


class Twice(nn.Layer):
    """One convolution reads two tensors, each of which something else reads as well."""

    def __init__(self):
        super().__init__()
        self.first, self.shared = nn.Conv2D(3, 4, 1), nn.Conv2D(4, 4, 1)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = self.relu(self.first(x))
        y = self.relu(self.shared(x))
        return self.fc((self.relu(self.shared(y) + x) + y).mean([2, 3]))


def test_a_layer_that_is_called_twice_keeps_its_own_quantizer():
    model, record = prepared(QuantOptions(**DEPLOY), Twice())
    assert not isinstance(model.shared._fake_quant_input, placement.RoundedBefore)
    fresh = quant.apply_record(Twice(), record)
    assert not any(fresh.set_state_dict(model.state_dict()))


def test_statistics_and_freezing_reach_the_outputs(network):
    model, _ = prepared(QuantOptions(name="qat", **DEPLOY), copy.deepcopy(network))
    rows = {row["layer"]: row for row in quant.statistics(model)}
    assert rows["block (output)"]["limit"] == rows["joined.conv.conv"]["limit"] > 0
    quant.freeze_observers(model)
    limit = placement.quantizer_of(model.block).limit()
    train(model, steps=1)
    assert placement.quantizer_of(model.block).limit() == limit
    pact, _ = prepared(QuantOptions(name="pact", **DEPLOY), copy.deepcopy(network))
    assert len(quant.learned_parameters(pact)) == len(placement.outputs(pact)) - 1 + 6  # the gate learns none


def test_a_copy_is_independent(network):
    model, _ = prepared(QuantOptions(**DEPLOY), copy.deepcopy(network))
    expected = logits(model, images(4))
    other = copy.deepcopy(model)
    placement.quantizer_of(other.joined).take_over(0.01)
    assert quant.grids(other)["left.conv"].input.limit == pytest.approx(0.01)
    np.testing.assert_array_equal(logits(model, images(4)), expected)


def test_pruned_then_quantized_at_its_places():
    options = SlimOptions(
        prune=PruneOptions(name="l1_norm", pruned_ratio=0.3), quant=QuantOptions(name="pact", placement="deploy")
    )
    context = recipe.Context(lambda: [paddle.to_tensor(images(8))])
    model, record = recipe.compress(placed_network(), options, INPUTS, context=context)
    fresh = recipe.rebuild(placed_network(), json.loads(json.dumps(record)))
    assert not any(fresh.set_state_dict(model.state_dict()))
    for net in (model, fresh):
        net.eval()
    np.testing.assert_array_equal(logits(fresh, images(4)), logits(model, images(4)))


def test_a_record_that_does_not_fit_is_refused(network):
    _, record = prepared(QuantOptions(**DEPLOY), copy.deepcopy(network))
    row = {**record["places"][0], "layer": "nowhere"}
    with pytest.raises(UserError, match="nowhere"):
        quant.apply_record(placed_network(), {**record, "places": [row]})
    with pytest.raises(UserError, match="places"):
        quant.apply_record(placed_network(), {**record, "places": [{"layer": "stem.conv"}]})


def test_a_place_without_data_is_named(network):
    model, _ = quant.prepare(copy.deepcopy(network), QuantOptions(**DEPLOY), inputs=INPUTS)
    model.eval()
    with pytest.raises(UserError, match="not calibrated"):
        model(paddle.to_tensor(images(1)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"placement": "everywhere"}, "placement: .*everywhere"),
        ({"fuse_conv_bn": False}, "fuse_conv_bn: placement: deploy"),
        ({"activation_bits": 4}, "activation_bits: placement: deploy needs 8, found 4"),
        ({"weight_bits": 16}, "weight_bits: .* at most 8"),
        ({"grid": "moving_average"}, "grid: .*one fixed range"),
        ({"compat": "paddleslim"}, "placement|grid"),
        ({"name": "qat", "activation_quantize_type": "abs_max"}, "activation_quantize_type: .*one fixed range"),
        ({"name": "pact", "activation_quantize_type": "range_abs_max"}, "activation_quantize_type: .*use grid: alpha"),
        ({"backend": "paddleslim"}, "placement|grid|fuse_conv_bn"),
    ],
)
def test_what_an_integer_graph_cannot_hold_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        QuantOptions(**{**DEPLOY, **values})


def test_quantizers_of_the_users_own_are_refused(network):
    custom = quant.CustomParts(act_quantize=nn.Identity)
    with pytest.raises(UserError, match="act_quantize"):
        quant.prepare(copy.deepcopy(network), QuantOptions(**DEPLOY), inputs=INPUTS, custom=custom)


@pytest.mark.parametrize("name", ["CIFARMobileNetV3", "CIFARResNet8"])
def test_native_backbones_have_a_layer_for_every_place(name):
    _, record = quant.prepare(models.build(name), QuantOptions(**DEPLOY), inputs=[[1, 3, 32, 32]])
    assert record["unlearned"] == []


def test_signed_grids_everywhere_where_unsigned_is_refused(network):
    model, _ = prepared(QuantOptions(name="pact", **DEPLOY, unsigned=False), copy.deepcopy(network))
    placed = [layer for layer in model.sublayers() if getattr(layer, "placed", False)]
    assert len(placed) > 10
    assert not any(quantizer.unsigned for quantizer in placed)

"""A place is a call: a network that calls its layers several times is quantized as one with a layer for each call."""

import copy
import json

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.distributed.fleet.utils import recompute
from support.shared import INPUTS, Several, images, pair

from ppcls_compress.errors import UserError
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.quant.placement import placement
from ppcls_compress.slim.quant.placement.calls import ByCall

QUANTIZERS = [
    {"name": "pact"},
    {"name": "lsq"},
    {"name": "qat"},
    {"name": "qat", "activation_quantize_type": "range_abs_max"},
    {"name": "ptq", "bias_correction": False},  # which a shared layer has once for all calls
]
X = paddle.to_tensor(images(16, 3))


def prepared(net, **options):
    model, record = quant.prepare(net, QuantOptions(placement="deploy", **options), inputs=INPUTS)
    quant.calibrate(model, [paddle.to_tensor(images(16, 5))])
    model.eval()
    return model, record


@pytest.fixture(scope="module")
def placed():
    return prepared(pair()[0], name="qat")


def answers(model, x=X):
    with paddle.no_grad():
        return model(x).numpy()


@pytest.mark.parametrize("kind", QUANTIZERS, ids=lambda kind: "_".join(map(str, kind.values())))
def test_shared_layers_are_quantized_as_layers_of_their_own(kind):
    shared, apart = pair()
    exact = answers(shared)
    model, record = prepared(shared, **kind)
    reference, _ = prepared(apart, **kind)
    np.testing.assert_array_equal(answers(model), answers(reference))
    assert 0 < np.abs(answers(model) - exact).max() < 0.05 * np.abs(exact).max()
    limits = [sorted(row["limit"] for row in quant.statistics(net) if row["limit"]) for net in (model, reference)]
    assert set(np.round(limits[1], 5)) == set(np.round(limits[0], 5))
    np.testing.assert_allclose(answers(quant.to_inference(model)), answers(model), atol=1e-6)
    fresh = quant.apply_record(Several(shared=True), json.loads(json.dumps(record)))
    assert fresh.set_state_dict(model.state_dict()) == ([], [])
    fresh.eval()
    np.testing.assert_array_equal(answers(fresh), answers(model))


def test_each_call_has_a_name_for_the_log(placed):
    model, record = placed
    rows = {row["layer"]: row["limit"] for row in quant.statistics(model)}
    inner, outer = rows["blocks.0.relus.0 (output, call 1)"], rows["blocks.0.relus.0 (output, call 2)"]
    assert inner < 0.5 * outer
    assert {f"conv.0 (input, call {call})" for call in (2, 3)} < rows.keys()
    assert record["calls"]["blocks.0.relus.0"][3] == [["blocks.0", 1], ["blocks.0.relus.0", 1]]
    assert [row.get("call") for row in record["places"] if row["layer"] == "relu.0"] == [0, 1]


def test_training_follows_every_call_by_itself(placed):
    model = copy.deepcopy(placed[0])
    before = {name: value.numpy() for name, value in model.state_dict().items() if "_scale" in name}
    model.train()
    model(3 * X).sum().backward()
    after = {name: model.state_dict()[name].numpy() for name in before}
    moved = {name for name in before if (before[name] != after[name]).any()}
    assert moved == set(before)
    reference = copy.deepcopy(placed[0])
    expected = answers(reference)
    np.testing.assert_array_equal(answers(placed[0]), expected)
    quant.freeze_observers(model)
    model(9 * X)
    np.testing.assert_array_equal([model.state_dict()[name].numpy() for name in before], list(after.values()))


def test_a_copy_and_the_original_follow_their_own_calls(placed):
    model, _ = placed
    other, expected = copy.deepcopy(model), answers(model)
    quantizer = placement.quantizers(placement.quantizer_of(other.relu[0]))[1]
    quantizer.set_ends(0.0, 2e-3, 1)
    assert not np.array_equal(answers(other), expected)
    np.testing.assert_array_equal(answers(model), expected)


def test_a_part_that_is_run_alone_rounds_as_within_the_network():
    model, _ = prepared(Checkpointed(), name="qat")
    inside = []
    model.block.register_forward_post_hook(lambda _, inputs, output: inside.append((inputs[0], output.numpy())))
    answers(model)
    for _ in range(2):
        np.testing.assert_array_equal(model.block(inside[0][0]).numpy(), inside[0][1])
    plain = Checkpointed()
    assert not np.array_equal(plain.block(inside[0][0]).numpy(), inside[0][1])


def test_passes_that_fail_or_are_not_called_leave_the_calls_right(placed):
    model, expected = placed[0], answers(placed[0])
    model.blocks[0](model.relu[0](model.stem(X)))
    np.testing.assert_array_equal(answers(model), expected)
    hook = model.conv[0].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(X)
    hook.remove()
    np.testing.assert_array_equal(answers(model), expected)
    for _ in range(3):
        np.testing.assert_array_equal(model.forward(X).numpy(), expected)


def test_converted_back_nothing_is_left(placed):
    plain = quant.convert(copy.deepcopy(placed[0]))
    assert not any("fake_quant" in name for name in plain.state_dict())
    assert not any(layer._forward_pre_hooks or layer._forward_post_hooks for layer in plain.sublayers(True))
    np.testing.assert_array_equal(answers(plain), answers(pair()[0]))


class Checkpointed(nn.Layer):
    """A residual block with one activation, run again for its gradients if told so."""

    def __init__(self):
        super().__init__()
        self.stem, self.fc = nn.Conv2D(3, 8, 3), nn.Linear(8, 5)
        self.block = Shared()
        self.again = False

    def forward(self, x):
        x = self.stem(x)
        x = recompute(self.block, x) if self.again else self.block(x)
        return self.fc(x.mean([2, 3]))


class Shared(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2D(8, 8, 3, padding=1), nn.ReLU()

    def forward(self, x):
        y = 0.05 * self.relu(self.conv(x))
        y = self.relu(y)
        return self.relu(self.conv(y) + y + x)


def test_a_pass_that_is_run_again_for_its_gradients_rounds_the_same():
    model, _ = prepared(Checkpointed(), name="ptq")
    gradients = []
    for again in (False, True):
        model.again = again
        model.train()
        model(X).sum().backward()
        gradients.append(model.block.conv.weight.grad.numpy())
        model.clear_gradients()
    np.testing.assert_array_equal(gradients[1], gradients[0])


class Uneven(nn.Layer):
    """Calls its activation once more in training, in one way or another."""

    def __init__(self, how):
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2D(3, 3, 1) for _ in range(3))
        self.relu, self.fc = nn.ReLU(), nn.Linear(3, 5)
        self.aside = Aside(self.relu)
        self.how = how

    def forward(self, x):
        x = self.relu(self.first(x))
        if self.training and self.how == "here":
            self.relu(x)
        if self.training and self.how == "elsewhere":
            self.aside(100 * x)
        x = self.relu(self.second(x) + x)
        if self.how == "by chance" and self.training and CHANCE:
            return self.fc(x.mean([2, 3]))
        return self.fc(self.relu(self.third(x) + x).mean([2, 3]))


class Aside(nn.Layer):
    """Another layer that calls an activation which it does not own."""

    def __init__(self, relu):
        super().__init__()
        self.borrowed = [relu]

    def forward(self, x):
        return self.borrowed[0](x)


class Once(nn.Layer):
    """Calls its activation once in evaluation, and once more in training."""

    def __init__(self, *, aside):
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2D(3, 3, 1), nn.ReLU(), nn.Linear(3, 5)
        self.again = Aside(self.relu) if aside else self.relu

    def forward(self, x):
        x = self.relu(self.conv(x))
        if self.training:
            self.again(100 * x)
        return self.fc((x + x).mean([2, 3]))


CHANCE = []


def test_calls_that_cannot_be_told_apart_in_training_are_refused():
    with pytest.raises(UserError, match="relu: the network calls it 3 times in evaluation and 4 times in training, so"):
        prepared(Uneven("here"), name="qat")
    model, _ = prepared(Uneven("by chance"), name="qat")
    model.train()
    model(X)
    CHANCE.append(True)
    with pytest.raises(UserError, match="relu: .* 3 times in evaluation and 2 times in this forward pass, so"):
        model(X)
    CHANCE.clear()
    model(X)


def test_a_second_call_that_only_training_makes_is_apart_from_the_first_or_refused():
    with pytest.raises(UserError, match="relu: the network calls it once in evaluation and 2 times in training, so"):
        prepared(Once(aside=False), name="qat")
    model, record = prepared(Once(aside=True), name="qat")
    assert [row["call"] for row in record["places"] if row["layer"] == "relu"] == [0]
    quantizer = placement.quantizers(placement.quantizer_of(model.relu))[0]
    before = quantizer.limit()
    model.train()
    for _ in range(20):
        model(X)
    assert quantizer.limit() < 2 * before


def test_calls_that_only_training_makes_are_not_rounded_and_change_no_range():
    model, _ = prepared(Uneven("elsewhere"), name="qat")
    still, _ = prepared(Uneven("never"), name="qat")
    still.set_state_dict(model.state_dict())
    seen = []
    model.aside.register_forward_post_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    for net in (model, still):
        net.train()
        net(X)
    np.testing.assert_array_equal(seen[0][1].numpy(), np.maximum(seen[0][0].numpy(), 0))
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), still.state_dict()[name].numpy(), err_msg=name)


class Rarely(nn.Layer):
    """One activation in two layers, of which the second is left out on dark images."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2D(3, 3, 1), nn.Linear(3, 5)
        relu = nn.ReLU()
        self.first, self.second = Aside(relu), Aside(relu)
        self.relu = relu

    def forward(self, x):
        dark = paddle.in_dynamic_mode() and x.max() < 1
        x = self.first(self.conv(x))
        x = x if dark else x + self.second(x + x)
        return self.fc(x.mean([2, 3]))


def test_a_call_without_data_is_named():
    model, _ = quant.prepare(Rarely(), QuantOptions(placement="deploy"), inputs=INPUTS)
    quant.calibrate(model, [X])
    with pytest.raises(UserError, match=r"no calibration data reached relu \(output, call 2\); leave it out"):
        quant.calibrate(model, [0.1 * X])


def test_a_record_of_one_range_for_all_calls_still_loads(placed):
    _, record = placed
    rows = [
        {"layer": "stem", "side": "input", "readers": [], "non_negative": False, "unit_range": False},
        {"layer": "relu.0", "side": "output", "readers": [], "non_negative": True, "unit_range": False},
    ]
    old = {**{key: value for key, value in record.items() if key != "calls"}, "places": rows}
    model = quant.apply_record(Several(shared=True), old)
    assert not any(isinstance(layer, ByCall) for layer in model.sublayers())
    assert "relu.0._fake_quant_output._sides" in model.state_dict()


def test_a_record_whose_calls_are_not_those_of_the_network_is_refused(placed):
    _, record = placed
    with pytest.raises(UserError, match="a layer that this model does not have: nowhere"):
        quant.apply_record(Several(shared=True), {**record, "calls": {"relu.0": [["nowhere"]]}})
    with pytest.raises(UserError, match="places are not as"):
        quant.apply_record(Several(shared=True), {**record, "calls": [1]})

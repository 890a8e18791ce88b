"""Swapping layers in and out, the rules that choose them, the record, and what is refused."""

from __future__ import annotations

import copy
import json

import numpy as np
import paddle
import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import LayerRule, QuantOptions

nn = paddle.nn


class Block(nn.Layer):
    """Keeps its layers in a plain list, and one of them twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(4, 4, 3, padding=1)
        self.depthwise = nn.Conv2D(4, 4, 3, padding=1, groups=4)
        self.steps = [self.conv, nn.ReLU(), self.depthwise]

    def forward(self, x):
        for step in self.steps:
            x = step(x)
        return self.conv(x)


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2D(3, 4, 3)
        self.block = Block()
        self.up = nn.Conv2DTranspose(4, 4, 2)
        self.mix = nn.Conv1D(4, 4, 1)
        self.scaled = Scaled(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.up(self.block(self.stem(x)))
        x = self.mix(x.flatten(2)).mean(axis=2)
        return self.head(self.scaled(x))


IMAGES = paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype("float32"))


def net() -> Net:
    paddle.seed(1)
    return Net()


def ready(**options):
    model, record = quant.prepare(net(), QuantOptions(**options))
    quant.calibrate(model, [IMAGES])
    return model, record


def test_layers_are_swapped_and_the_rest_is_listed_with_reasons():
    model, record = ready()
    assert record["quantized"] == ["stem", "block.conv", "block.depthwise", "head"]
    reasons = {item["layer"]: item["reason"] for item in record["skipped"]}
    assert reasons == {
        "up": "Conv2DTranspose is not in quantizable_layer_type",
        "mix": "this type of layer cannot be quantized",
        "scaled": "its class computes something of its own in forward",
    }
    assert list(quant.quant_layers(model)) == record["quantized"]
    assert model.block.steps[0] is model.block.conv
    assert isinstance(model.block.steps[2], nn.Conv2D)


def test_parameters_keep_their_names_and_are_shared():
    model = net()
    before = dict(model.named_parameters())
    model, _ = quant.prepare(model, QuantOptions())
    after = dict(model.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert set(after) > set(before)
    assert all("._fake_quant_input." in name for name in set(after) - set(before))


def test_eight_bits_are_close_to_float_and_two_bits_are_not():
    expected = net()(IMAGES).numpy()
    spread = np.abs(expected).max()
    fine, _ = ready()
    coarse, _ = ready(weight_bits=2, activation_bits=2)
    assert np.abs(fine(IMAGES).numpy() - expected).max() < 0.03 * spread
    assert np.abs(coarse(IMAGES).numpy() - expected).max() > 0.05 * spread


def test_converting_back_gives_the_plain_layers_with_the_trained_weights():
    model, _ = ready()
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    model(IMAGES).square().sum().backward()
    optimizer.step()
    trained = {name: value.numpy() for name, value in model.named_parameters() if "quant" not in name}
    model = quant.convert(model)
    fresh = net()
    assert [type(layer) for layer in model.sublayers()] == [type(layer) for layer in fresh.sublayers()]
    assert list(model.state_dict()) == list(fresh.state_dict())
    fresh.set_state_dict(trained)
    np.testing.assert_array_equal(model(IMAGES).numpy(), fresh(IMAGES).numpy())
    assert model.block.steps[0] is model.block.conv
    quant.prepare(model, QuantOptions())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"grid": "moving_average"},
        {"compat": "paddleslim"},
        {"name": "qat", "activation_quantize_type": "range_abs_max", "window_size": 3},
        {
            "name": "lsq",
            "per_layer": (LayerRule(("first", "last"), weight_bits=8, activation_bits=8),),
            "weight_bits": 4,
        },
        {"name": "ptq"},
    ],
)
def test_a_record_rebuilds_the_structure_for_a_strict_load(options):
    model, record = ready(**options)
    model.eval()
    expected = model(IMAGES).numpy()
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    rebuilt = quant.apply_record(net(), json.loads(json.dumps(record)))
    missing, unexpected = rebuilt.set_state_dict(state)
    assert not missing
    assert not unexpected
    assert list(rebuilt.state_dict()) == list(state)
    rebuilt.eval()
    np.testing.assert_array_equal(rebuilt(IMAGES).numpy(), expected)


def test_a_record_of_another_network_or_kind_is_refused():
    _, record = ready()
    other = nn.Sequential(nn.Conv2D(3, 4, 3), nn.Linear(4, 2))
    with pytest.raises(UserError, match="the record's quantized layers are not this model's: 0"):
        quant.apply_record(other, record)
    with pytest.raises(UserError, match="not a quantization record of version 1: kind 'prune'"):
        quant.apply_record(net(), {**record, "kind": "prune"})


@pytest.mark.parametrize(
    ("skip", "left"),
    [
        (("first", "last"), ["block.conv", "block.depthwise"]),
        (("block.*",), ["stem", "head"]),
        (("depthwise", "Linear"), ["stem", "block.conv"]),
        (("Conv2D",), ["head"]),
    ],
)
def test_skip_by_name_glob_type_and_position(skip, left):
    _, record = ready(skip=skip)
    assert record["quantized"] == left
    assert all(
        item["reason"].startswith("skip: ")
        for item in record["skipped"]
        if item["layer"] not in ("up", "mix", "scaled")
    )


def test_only_depthwise_layers_when_only_they_are_named():
    _, record = ready(quantizable_layer_type=("depthwise",))
    assert record["quantized"] == ["block.depthwise"]


def test_later_rules_win_and_the_rest_keeps_the_section():
    rules = (LayerRule(("block.*",), weight_bits=4), LayerRule(("depthwise",), weight_bits=6, unsigned=False))
    model, _ = ready(per_layer=rules, activation_bits=5)
    bits = {row["layer"]: (row["weight_bits"], row["activation_bits"]) for row in quant.statistics(model)}
    assert bits == {"stem": (8, 5), "block.conv": (4, 5), "block.depthwise": (6, 5), "head": (8, 5)}
    assert not model.block.depthwise._fake_quant_input.unsigned


def test_rules_of_after_training_quantization_take_more_bits_than_the_section():
    rules = (LayerRule(("last",), activation_bits=12),)
    model, record = quant.prepare(net(), QuantOptions(name="ptq", fuse_conv_bn=False, per_layer=rules))
    assert list(quant.quant_layers(quant.apply_record(net(), record))) == record["quantized"]
    bits = [layer._fake_quant_input.bits for layer in quant.quant_layers(model).values()]
    assert bits == [8] * (len(bits) - 1) + [12]


def test_the_one_sided_form_follows_the_data_or_the_rule():
    model, _ = ready()
    forms = {row["layer"]: row["unsigned"] for row in quant.statistics(model)}
    assert forms == {"stem": False, "block.conv": False, "block.depthwise": True, "head": False}
    model, _ = ready(unsigned=False)
    assert not any(row["unsigned"] for row in quant.statistics(model))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": ("blok.*",)}, r"skip: unknown layer 'blok.\*'.* nothing to quantize matches it"),
        ({"per_layer": (LayerRule(("heat",), weight_bits=4),)}, "per_layer: unknown layer 'heat'; did you mean 'head'"),
        ({"skip": ("Conv2D", "Linear")}, "Net has no layer that can be quantized"),
        (
            {"skip": ("head",), "per_layer": (LayerRule(("stem",), 4), LayerRule(("last", "head"), 8))},
            r"per_layer\[1\]: all layers of last, head are left out by skip",
        ),
    ],
)
def test_rules_that_match_nothing_or_leave_nothing(options, message):
    with pytest.raises(UserError, match=message):
        quant.prepare(net(), QuantOptions(**options))


def test_a_network_without_quantizable_layers():
    with pytest.raises(UserError, match="has no layer that can be quantized .it has no layer with a weight"):
        quant.prepare(nn.Sequential(nn.ReLU(), nn.Flatten()), QuantOptions())


@pytest.mark.parametrize("layer", [nn.Linear(2, 2), nn.Conv2D(3, 2, 1)])
def test_a_model_that_is_one_layer_is_to_be_wrapped(layer):
    with pytest.raises(UserError, match=f"the whole model is a {type(layer).__name__}, .*paddle.nn.Sequential"):
        quant.prepare(layer, QuantOptions())
    model, _ = quant.prepare(nn.Sequential(layer), QuantOptions())
    assert list(quant.quant_layers(model)) == ["0"]


def test_a_network_of_doubles_is_refused_as_it_is():
    network = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4)).to(dtype="float64")
    with pytest.raises(UserError, match=r"^0\.weight: is float64, .*model\.to\(dtype='float32'\)"):
        quant.prepare(network, QuantOptions(fuse_conv_bn=True))
    assert type(network[0]) is paddle.nn.Conv2D
    assert type(network[1]) is paddle.nn.BatchNorm2D
    quant.prepare(network.to(dtype="float32"), QuantOptions())


def test_preparing_twice_is_refused():
    model, _ = ready()
    with pytest.raises(UserError, match="stem is quantized already"):
        quant.prepare(model, QuantOptions())
    with pytest.raises(UserError, match="holds no quantized layer to convert back"):
        quant.convert(net())


def test_layers_that_opt_out_stay_float():
    model = net()
    model.head.skip_quant = True
    _, record = quant.prepare(model, QuantOptions())
    assert "head" not in record["quantized"]


def test_a_layer_made_static_is_quantized_like_any_other():
    model, _ = quant.prepare(net(), QuantOptions(weight_bits=2))
    wanted = model(IMAGES).numpy()
    static = net()
    static.stem = paddle.jit.to_static(static.stem)
    static, _ = quant.prepare(static, QuantOptions(weight_bits=2))
    np.testing.assert_array_equal(static(IMAGES).numpy(), wanted)


def test_a_copy_is_independent():
    model, _ = ready()
    other = copy.deepcopy(model)
    other.stem._fake_quant_input.take_over(0.01)
    other.eval()
    model.eval()
    assert np.abs(other(IMAGES).numpy() - model(IMAGES).numpy()).max() > 1e-3


def test_transposed_convolution_takes_an_output_size():
    model = nn.Sequential(nn.Conv2DTranspose(3, 4, 3, stride=2))
    model, _ = quant.prepare(model, QuantOptions(name="qat", quantizable_layer_type=("Conv2DTranspose",)))
    quant.calibrate(model, [IMAGES])
    assert model[0](IMAGES, [18, 18]).shape == [2, 4, 18, 18]


class Named(nn.Layer):
    """Calls its layers with keyword arguments."""

    def __init__(self):
        super().__init__()
        self.up = nn.Conv2DTranspose(3, 4, 3, stride=2, bias_attr=False)
        self.norm = nn.BatchNorm2D(4)
        self.conv = nn.Conv2D(4, 2, 1)
        self.fc = nn.Linear(18, 3)

    def forward(self, x):
        return self.fc(input=self.conv(x=self.norm(input=self.up(x, output_size=[18, 18]))))


@pytest.mark.parametrize(
    "options",
    [{"name": "ptq", "activation_quantizer": "AbsmaxQuantizer"}, {"name": "pact"}, {"placement": "deploy"}],
    ids=["ptq", "pact", "deploy"],
)
def test_layers_take_keyword_arguments(options):
    paddle.seed(0)
    model = Named()
    model.eval()
    expected = model(IMAGES).numpy()
    kinds = ("Conv2D", "Conv2DTranspose", "Linear")
    shape = [2, 3, *IMAGES.shape[2:]]
    model, record = quant.prepare(model, QuantOptions(quantizable_layer_type=kinds, **options), inputs=[shape])
    assert record["folded"] == ([] if options == {"name": "pact"} else [["up", "norm"]])
    quant.calibrate(model, [IMAGES])
    model.eval()
    rounded = model(IMAGES).numpy()
    assert rounded.shape == (2, 4 // 2, 18, 3)
    np.testing.assert_allclose(rounded, expected, atol=0.05 * np.abs(expected).max())
    np.testing.assert_allclose(quant.to_inference(model)(IMAGES).numpy(), rounded, atol=1e-5)
    if quant.is_placed(model):
        quant.mark_places(model)
        assert model(IMAGES).shape == [2, 2, 18, 3]


class Auxiliary(nn.Layer):
    """A head that training alone runs, as GoogLeNet's."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2D(3, 4, 3)
        self.extra = nn.Conv2D(4, 3, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        scores = self.head(x.mean(axis=[2, 3]))
        return [scores, self.extra(x).mean(axis=[2, 3])] if self.training else scores


@pytest.mark.parametrize("placement", ["layers", "deploy"])
def test_layers_that_no_evaluation_calls_stay_float_and_are_named(placement):
    options = QuantOptions(name="pact", placement=placement, skip=("head",))
    model, record = quant.prepare(Auxiliary(), options, inputs=[[1, 3, 8, 8]])
    assert record["quantized"] == ["stem"]
    assert [(item["layer"], item["reason"]) for item in record["skipped"]] == [
        ("extra", "no forward pass in evaluation calls it"),
        ("head", "skip: head"),
    ]
    quant.calibrate(model, [IMAGES])
    model.train()
    sum(part.sum() for part in model(IMAGES)).backward()
    assert model.extra.weight.grad is not None
    again = quant.apply_record(Auxiliary(), json.loads(json.dumps(record)))
    again.set_state_dict(model.state_dict())
    model.eval()
    again.eval()
    np.testing.assert_array_equal(again(IMAGES).numpy(), model(IMAGES).numpy())


def test_without_inputs_every_layer_counts_as_called():
    _, record = quant.prepare(Auxiliary(), QuantOptions(name="pact"))
    assert record["quantized"] == ["stem", "extra", "head"]

"""`QAT` under PaddleSlim's name: arguments, defaults, results."""

from __future__ import annotations

import inspect
import typing

import numpy as np
import paddle
import pytest
from support.paddleslim import StandInQAT
from support.upstream_qat import IMAGES, network, train, upstream

from ppcls_compress.errors import UserError
from ppcls_compress.slim import QAT, quant
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.options.quant import WeightType

nn = paddle.nn


def test_the_signature_is_paddleslims():
    names = list(inspect.signature(QAT).parameters)
    assert names == ["config", "weight_preprocess", "act_preprocess", "weight_quantize", "act_quantize"]
    assert list(inspect.signature(QAT.quantize).parameters)[:3] == ["self", "model", "inplace"]
    assert list(inspect.signature(QAT.save_quantized_model).parameters) == ["self", "model", "path", "input_spec"]
    assert QAT().config == {
        "weight_preprocess_type": None,
        "activation_preprocess_type": None,
        "weight_quantize_type": "channel_wise_abs_max",
        "activation_quantize_type": "moving_average_abs_max",
        "weight_bits": 8,
        "activation_bits": 8,
        "dtype": "int8",
        "window_size": 10000,
        "moving_rate": 0.9,
        "quantizable_layer_type": ["Conv2D", "Linear"],
        "fuse_conv_bn": False,
        "onnx_format": True,
    }


@pytest.mark.parametrize("weight", ["abs_max", "channel_wise_abs_max"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_training_equals_paddles_from_the_same_start(weight, bits):
    theirs = upstream(weight_quantize_type=weight, weight_bits=bits, activation_bits=bits, moving_rate=0.8)
    config = {"weight_quantize_type": weight, "weight_bits": bits, "activation_bits": bits, "moving_rate": 0.8}
    ours = QAT(config).quantize(network())
    for model in (theirs, ours):
        train(model)
    np.testing.assert_allclose(ours(IMAGES).numpy(), theirs(IMAGES).numpy(), atol=1e-6)


def test_pact_calibrates_itself_and_upstreams_start_is_a_key_away():
    ours = QAT({"activation_preprocess_type": "PACT"}).quantize(network())
    ours.train()
    ours(IMAGES)
    assert 1 < quant.statistics(ours)[0]["alpha"] < 6
    compat = QAT({"activation_preprocess_type": "PACT", "compat": "paddleslim"}).quantize(network())
    quant.calibrate(compat, [IMAGES])
    rows = quant.statistics(compat)
    assert [(row["alpha"], row["limit"]) for row in rows] == [(100.0, np.float32(0.001))] * 3
    weights = QAT({"weight_preprocess_type": "PACT", "compat": "paddleslim"}).quantize(network())
    assert weights[0]._weight_preprocess.alpha.item() == 100
    assert weights[0]._act_preprocess is None


@pytest.mark.parametrize("preprocess", [None, "PACT"])
@pytest.mark.parametrize("activation", ["abs_max", "range_abs_max", "moving_average_abs_max"])
@pytest.mark.parametrize("weight", typing.get_args(WeightType))
def test_every_combination_of_types_trains_and_deploys(weight, activation, preprocess):
    kinds = {"weight_quantize_type": weight, "activation_quantize_type": activation, "window_size": 3}
    clips = {"weight_preprocess_type": preprocess, "activation_preprocess_type": preprocess}
    bits = {"weight_bits": 2 + len(weight) % 3, "activation_bits": 2 + len(activation) % 3}
    ours = QAT({**kinds, **clips, **bits}).quantize(network())
    train(ours, 2)
    expected = ours(IMAGES).numpy()
    assert np.isfinite(expected).all()
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(quant.to_inference(ours)(IMAGES).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_inplace_false_leaves_the_model_alone():
    model = network()
    other = QAT().quantize(model, inplace=False)
    assert not quant.quant_layers(model)
    assert quant.quant_layers(other)


class Half(nn.Layer):
    def forward(self, x):
        return x * 0.5


def test_classes_of_the_users_own_replace_the_steps(tmp_path):
    model = QAT({"activation_preprocess_type": "PACT"}, Half, Half, Half, Half).quantize(network())
    model.eval()
    x, plain = IMAGES, network()
    plain.eval()
    for layer in plain:
        bias = getattr(layer, "bias", None)
        if isinstance(layer, nn.Conv2D | nn.Linear):
            bias = bias.reshape([1, -1, 1, 1]) if isinstance(layer, nn.Conv2D) else bias
            x = (layer(x) - bias) * 0.5**4 + bias
        else:
            x = layer(x)
    np.testing.assert_allclose(model(IMAGES).numpy(), x.numpy(), atol=1e-6)
    deployed = quant.to_inference(model)
    np.testing.assert_allclose(deployed(IMAGES).numpy(), model(IMAGES).numpy(), atol=1e-6)
    with pytest.raises(UserError, match="act_quantize: a subclass of paddle.nn.Layer is needed, found 'x'"):
        QAT(act_quantize="x")


def test_a_class_that_needs_arguments_is_refused():
    with pytest.raises(
        UserError, match="weight_quantize: Linear is made without arguments, and needs in_features, out"
    ):
        QAT(weight_quantize=nn.Linear)


def test_the_users_quantizer_still_gets_the_clip_of_pact():
    class Keep(nn.Layer):
        def forward(self, x):
            return x

    model = QAT({"activation_preprocess_type": "PACT"}, act_quantize=Keep).quantize(network())
    train(model, 1)
    assert quant.statistics(model)[0]["alpha"] > 0
    np.testing.assert_allclose(quant.to_inference(model)(IMAGES).numpy(), model(IMAGES).numpy(), atol=1e-6)


@pytest.mark.parametrize("onnx_format", [True, False])
def test_save_quantized_model(tmp_path, onnx_format):
    qat = QAT({"activation_preprocess_type": "PACT", "onnx_format": onnx_format})
    model = qat.quantize(network())
    train(model)
    qat.save_quantized_model(model, str(tmp_path / "model"), [paddle.static.InputSpec([None, 3, 8, 8])])
    assert paddle.in_dynamic_mode()
    loaded = paddle.jit.load(str(tmp_path / "model"))
    np.testing.assert_allclose(loaded(IMAGES).numpy(), model(IMAGES).numpy(), atol=1e-5)
    integers = [value for value in loaded.state_dict().values() if value.dtype == paddle.int8]
    assert len(integers) == (3 if onnx_format else 0)


def test_folding_before_training():
    model = network()
    train(model)
    expected = model(IMAGES).numpy()
    folded = QAT({"fuse_conv_bn": True}).quantize(model, inputs=[[4, 3, 8, 8]])
    assert isinstance(folded[1], nn.Identity)
    quant.calibrate(folded, [IMAGES])
    assert np.abs(folded(IMAGES).numpy() - expected).max() < 0.05 * np.abs(expected).max()


OWN_OPTIONS = [
    ({"skip": ["0"]}, lambda model: not hasattr(model[0], "_fake_quant_input")),
    ({"per_layer": [{"layers": ["last"], "weight_bits": 4}]}, lambda model: model[5]._fake_quant_weight.bits == 4),
    ({"name": "lsq"}, lambda model: hasattr(model[0]._fake_quant_input, "s")),
    ({"name": "pact"}, lambda model: hasattr(model[0]._fake_quant_input, "_scale")),
    ({"name": "pact", "grid": "alpha"}, lambda model: not hasattr(model[0]._fake_quant_input, "_scale")),
    ({"name": "pact", "unsigned": True}, lambda model: model[0]._fake_quant_input.unsigned),
    (
        {"name": "pact", "alpha_init": "percentile", "alpha_percentile": 100},
        lambda model: abs(quant.statistics(model)[0]["alpha"] / IMAGES.abs().max().item() - 1) < 1e-6,
    ),
    (
        {"name": "pact", "alpha_learning_rate": 0.5},
        lambda model: model[0]._fake_quant_input.log_alpha.optimize_attr["learning_rate"] == 0.5,
    ),
    (
        {"name": "pact", "alpha_weight_decay": 0.25},
        lambda model: "0.25" in str(model[0]._fake_quant_input.log_alpha.regularizer),
    ),
    ({"placement": "deploy"}, quant.is_placed),
    ({"name": "pact", "placement": "deploy"}, quant.is_placed),
    ({"window_size": 3, "moving_rate": 0.5}, lambda model: model[0]._fake_quant_input.rate == 0.5),
]


@pytest.mark.parametrize(("config", "holds"), OWN_OPTIONS)
def test_every_option_of_our_own_has_its_effect(config, holds):
    model = QAT(config).quantize(network(), inputs=[[4, 3, 8, 8]])
    quant.calibrate(model, [IMAGES])
    assert holds(model)
    train(model, 2)
    assert np.isfinite(quant.to_inference(model)(IMAGES).numpy()).all()


@pytest.mark.parametrize(
    "config", [{"name": "lsq"}, {"name": "pact", "grid": "alpha"}, {"name": "lsq", "placement": "deploy"}]
)
def test_other_methods_than_paddleslims_find_out_whether_an_input_is_never_negative(config):
    model = QAT(config).quantize(network(), inputs=[[4, 3, 8, 8]])
    quant.calibrate(model, [IMAGES.abs()])
    assert model[0]._fake_quant_input.unsigned


@pytest.mark.parametrize("config", [{"activation_preprocess_type": "PACT"}, {"name": "pact", "grid": "moving_average"}])
def test_the_clip_of_paddleslim_has_two_sides_unless_it_is_said_otherwise(config):
    for given, expected in (({}, False), ({"unsigned": False}, False), ({"unsigned": "auto"}, True)):
        model = QAT({**config, **given}).quantize(network())
        quant.calibrate(model, [IMAGES.abs()])
        assert model[0]._fake_quant_input.unsigned == expected


def test_compat_computes_and_learns_what_paddleslim_does():
    """Three steps with PaddleSlim's own PACT, formula, start and rate, over Paddle's quantized layers."""
    config = {"activation_preprocess_type": "PACT", "weight_preprocess_type": "PACT"}
    theirs, ours = network(), QAT({**config, "compat": "paddleslim"}).quantize(network())
    types = {"weight_quantize_type": "channel_wise_abs_max", "quantizable_layer_type": ["Conv2D", "Linear"]}
    StandInQAT({**config, **types, "dtype": "int8", "onnx_format": True}).quantize(theirs)
    for model in (theirs, ours):
        train(model, 3)
    np.testing.assert_allclose(ours(IMAGES).numpy(), theirs(IMAGES).numpy(), atol=1e-6)


def test_all_options_of_a_record_are_taken():
    options = QuantOptions(grid="moving_average", skip=("0",))
    config = {key: value for key, value in options.as_dict().items() if value is not None}
    assert QAT(config).options == options


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"weight_bits": 1}, "weight_bits: 1 is not a whole number from 2 to 16"),
        ({"activation_bits": 17}, "activation_bits: 17 is not"),
        ({"weight_quantize_type": "absmax"}, "weight_quantize_type: unknown value 'absmax'; did you mean 'abs_max'"),
        ({"activation_quantize_type": "channel_wise_abs_max"}, "activation_quantize_type: unknown value"),
        (
            {"activation_preprocess_type": "pact"},
            "activation_preprocess_type: unknown value 'pact'; did you mean 'PACT'",
        ),
        ({"weight_bit": 8}, "config: unknown key 'weight_bit'; did you mean 'weight_bits'"),
        ([1], r"config: a dictionary of keys is needed, found \[1\]"),
        ("abc", "config: a dictionary of keys is needed, found 'abc'"),
        ([], r"config: a dictionary of keys is needed, found \[\]"),
        ({"quantizable_layer_type": None}, "quantizable_layer_type: None is no value of it; leave it out for"),
        ({"weight_quantize_type": None}, "weight_quantize_type: None is no value of it"),
        ({"window_size": "many"}, "window_size: 'many' is not a whole number from 1"),
        ({"moving_rate": True}, "moving_rate: True is not a number above 0 and below 1"),
        ({"fuse_conv_bn": 1}, "fuse_conv_bn: unknown value 1"),
        ({"onnx_format": "no"}, "onnx_format: unknown value 'no'"),
        ({"skipp": ["0"]}, "config: unknown key 'skipp'; did you mean 'skip'"),
        ({"act_quantize": "a.B"}, "act_quantize: QAT takes the class itself, as an argument beside config"),
        ({"name": "ptq"}, "name: ptq needs no training, which is what QAT is for; use PTQ"),
        ({"freeze_bn_epoch": 3}, r"freeze_bn_epoch: QAT .* call slim\.quant\.freeze_batch_norms\(model\) when"),
        ({"observer_epochs": 3}, r"observer_epochs: QAT .* call slim\.quant\.freeze_observers\(model\) when"),
        ({"bins": 2048}, "bins: 2048 has no effect with name: qat"),
        ({"grid": "alpha"}, "grid: 'alpha' has no effect with name: qat"),
        ({"per_layer": {"layers": ["0"]}}, "per_layer: a list of rules"),
        ({"per_layer": [3]}, r"per_layer\[0\]: a rule such as .* is needed, found 3"),
        ({"per_layer": [{"layers": ["0"], "bits": 4}]}, r"per_layer\[0\]: unknown key 'bits'"),
        ({"per_layer": [{"weight_bits": 4}]}, r"per_layer\[0\]: layers: names no layer"),
        ({"quantizable_layer_type": ["Conv3D"]}, "quantizable_layer_type: unknown layer type 'Conv3D'"),
        ({"dtype": "uint8"}, "dtype: unknown value 'uint8'"),
        ({"compat": "paddleslim"}, "compat: 'paddleslim' has no effect"),
        ({"quantizable_layer_type": "Conv2D"}, "quantizable_layer_type: a list of layer names"),
        ({"moving_rate": 1.5}, "moving_rate: 1.5 is not a number above 0 and below 1"),
        (
            {"window_size": 0, "activation_quantize_type": "range_abs_max"},
            "window_size: 0 is not a whole number from 1",
        ),
    ],
)
def test_bad_configurations(config, message):
    with pytest.raises(UserError, match=message):
        QAT(config)

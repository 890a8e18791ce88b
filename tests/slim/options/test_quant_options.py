"""Options: defaults that depend on each other, what is refused, and a round trip through a record."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from ppcls_compress.errors import ConfigError
from ppcls_compress.slim.options import LayerRule, QuantOptions


def given(**options) -> dict:
    return {key: value for key, value in QuantOptions(**options).as_dict().items() if value not in (None, ())}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {},
            {"grid": "alpha", "unsigned": "auto", "alpha_init": "mse", "weight_quantize_type": "channel_wise_abs_max"},
        ),
        ({"activation_quantize_type": "moving_average_abs_max"}, {"grid": "moving_average", "moving_rate": 0.9}),
        ({"grid": "moving_average"}, {"activation_quantize_type": "moving_average_abs_max", "moving_rate": 0.9}),
        ({"compat": "paddleslim"}, {"grid": "moving_average", "moving_rate": 0.9}),
        ({"name": "lsq"}, {"weight_quantize_type": "channel_wise_lsq_weight", "unsigned": "auto"}),
        ({"name": "qat"}, {"activation_quantize_type": "moving_average_abs_max", "moving_rate": 0.9}),
        ({"name": "qat", "activation_quantize_type": "range_abs_max"}, {"window_size": 10000}),
        ({"name": "ptq"}, {"activation_quantizer": "KLQuantizer", "bins": 1024, "fuse_conv_bn": True}),
        ({"name": "ptq", "activation_bits": 12}, {"bins": 4096}),
        ({"alpha_init": "percentile"}, {"alpha_percentile": 99.99}),
    ],
)
def test_defaults_follow_the_method(options, expected):
    assert given(**options).items() >= expected.items()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "pat"}, "name: unknown value 'pat'; did you mean 'pact'"),
        ({"name": None}, "name: unknown value None. Allowed: lsq, pact, ptq, qat"),
        ({"dtype": None}, "dtype: unknown value None. Allowed: int8"),
        ({"fuse_conv_bn": 1}, "fuse_conv_bn: unknown value 1. Allowed: False, True"),
        ({"onnx_format": "no"}, "onnx_format: unknown value 'no'. Allowed: False, True"),
        ({"unsigned": 0}, "unsigned: unknown value 0. Allowed: False, True, auto"),
        ({"skip": None}, "skip: a list of layer names, globs or types is needed, found None"),
        ({"quantizable_layer_type": 3}, "quantizable_layer_type: a list of layer names"),
        ({"weight_bits": 1}, "weight_bits: 1 is not a whole number from 2 to 16"),
        ({"activation_bits": 17}, "activation_bits: 17 is not a whole number from 2 to 16"),
        ({"activation_bits": True}, "activation_bits: True is not a whole number"),
        ({"name": "qat", "grid": "alpha"}, "grid: 'alpha' has no effect with name: qat"),
        ({"name": "ptq", "freeze_bn_epoch": 2}, "freeze_bn_epoch: 2 has no effect with name: ptq"),
        ({"observer_epochs": 1}, "observer_epochs: 1 has no effect with name: pact, grid: alpha"),
        ({"moving_rate": 0.5}, "moving_rate: 0.5 has no effect"),
        ({"alpha_percentile": 99.0}, "alpha_percentile: 99.0 has no effect"),
        ({"compat": "paddleslim", "alpha_init": "mse"}, "alpha_init: 'mse' has no effect with name: pact.* compat"),
        ({"compat": "paddleslim", "grid": "alpha"}, "grid: alpha contradicts compat: paddleslim"),
        ({"grid": "alpha", "activation_quantize_type": "abs_max"}, "grid: alpha contradicts activation_quantize_type"),
        ({"name": "qat", "activation_preprocess_type": "PACT"}, "activation_preprocess_type: 'PACT' has no effect"),
        ({"unsigned": True, "activation_bits": 16}, "unsigned: an unsigned grid has at most 15 bits"),
        ({"skip": "conv"}, "skip: a list of layer names, globs or types is needed, found 'conv'"),
        ({"quantizable_layer_type": ()}, "quantizable_layer_type: is empty"),
        (
            {"name": "qat", "per_layer": (LayerRule(("a",), unsigned=True),)},
            r"per_layer\[0\]: unsigned: True has",
        ),
        (
            {"unsigned": True, "per_layer": (LayerRule(("a",), weight_bits=4), LayerRule(("b",), activation_bits=16))},
            r"per_layer\[1\]: unsigned: an unsigned grid has at most 15 bits",
        ),
        (
            {"name": "ptq", "bins": 2048, "per_layer": (LayerRule(("a",), activation_bits=12),)},
            r"per_layer\[0\]: bins: 2048 are too few for 12 bits",
        ),
        (
            {"placement": "deploy", "freeze_bn_epoch": 3},
            "freeze_bn_epoch: placement: deploy trains with",
        ),
        (
            {"compat": "paddleslim", "weight_quantize_type": "range_abs_max", "observer_epochs": 0},
            "observer_epochs: 0 would keep compat: paddleslim's start",
        ),
        ({"freeze_bn_epoch": 0}, "freeze_bn_epoch: 0 is not a whole number from 1, or never"),
        ({"freeze_bn_epoch": "nevr"}, "freeze_bn_epoch: 'nevr' is not a whole number from 1, or never"),
        ({"alpha_learning_rate": float("nan")}, "alpha_learning_rate: nan is not a finite number"),
    ],
)
def test_what_has_no_effect_or_no_meaning_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        QuantOptions(**options)


def test_a_rule_has_the_bins_that_its_bits_need():
    options = QuantOptions(name="ptq", per_layer=(LayerRule(("a",), activation_bits=12),))
    again = QuantOptions.from_dict(json.loads(json.dumps(options.as_dict())))
    assert again == options
    wider = again.with_rule(options.per_layer[0])
    assert (options.bins, wider.bins, wider.activation_bits, wider.per_layer) == (1024, 4096, 12, ())
    assert wider.with_rule(LayerRule(("a",), activation_bits=4)).bins == 1024


def test_a_rule_without_layers_or_changes_is_refused():
    with pytest.raises(ConfigError, match="the rule for conv changes nothing; set one of weight_bits"):
        LayerRule(("conv",))
    with pytest.raises(ConfigError, match="layers: names no layer"):
        LayerRule((), weight_bits=8)


@pytest.mark.parametrize("name", ["pact", "lsq", "qat", "ptq"])
def test_a_record_gives_the_same_options_back(name):
    options = QuantOptions(name=name, per_layer=(LayerRule(("first", "last"), weight_bits=8),), skip=("head",))
    assert QuantOptions.from_dict(json.loads(json.dumps(options.as_dict()))) == options
    with pytest.raises(ConfigError, match="unknown quantization option 'gird'; did you mean 'grid'"):
        QuantOptions.from_dict({"gird": "alpha"})


def test_a_record_from_before_free_zero_points_is_of_symmetric_grids():
    for name in ("ptq", "pact"):
        values = QuantOptions(name=name).as_dict()
        del values["asymmetric"], values["depthwise_ranges"]
        options = QuantOptions.from_dict(values)
        assert (options.asymmetric, options.depthwise_ranges) == (False, "tensor")
    former = QuantOptions(name="qat", activation_quantize_type="abs_max").as_dict()
    del former["asymmetric"]
    assert QuantOptions.from_dict(former).asymmetric is None


@pytest.mark.parametrize("name", ["ptq", "pact", "lsq", "qat"])
def test_grids_are_by_default_what_calibration_would_pick(name):
    options = QuantOptions(name=name)
    assert (options.asymmetric, options.depthwise_ranges) == ("auto", "channel")
    plain = options.as_paddleslim()
    assert (plain.asymmetric, plain.depthwise_ranges) == (False, "tensor")
    said = QuantOptions(name=name, asymmetric="auto", depthwise_ranges="channel")
    assert said == options
    assert (said.as_paddleslim().asymmetric, said.as_paddleslim().depthwise_ranges) == ("auto", "channel")


@pytest.mark.parametrize("fixed", [{"asymmetric": False}, {"unsigned": False}])
@pytest.mark.parametrize("name", ["pact", "lsq"])
def test_training_for_a_runtime_without_zero_points_has_one_range_for_each_tensor(name, fixed):
    options = QuantOptions(name=name, **fixed)
    assert (options.asymmetric, options.depthwise_ranges) == (False, "tensor")
    assert QuantOptions(name=name, depthwise_ranges="channel", **fixed).depthwise_ranges == "channel"


def test_what_was_left_to_its_default_is_known():
    options = QuantOptions(name="pact", asymmetric="auto", observed_range=None)
    assert {"depthwise_ranges", "freeze_bn_epoch", "observed_range"} <= set(options.silent)
    assert not {"asymmetric", "name", "moving_rate"} & set(options.silent)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"asymmetric": "yes"}, "asymmetric: unknown value 'yes'"),
        ({"depthwise_ranges": "chanel"}, "did you mean 'channel'"),
        ({"asymmetric": True, "compat": "paddleslim"}, "asymmetric: True has no effect"),
        ({"asymmetric": True, "grid": "moving_average"}, "asymmetric: True has no effect"),
        ({"asymmetric": True, "unsigned": False}, "unsigned: False fixes the zero point"),
        ({"asymmetric": True, "activation_bits": 16}, "at most 15 bits"),
        ({"name": "qat", "backend": "paddleslim", "asymmetric": True}, "asymmetric: True has no effect"),
    ],
)
def test_zero_points_that_a_grid_cannot_have_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        QuantOptions(**options)


def test_pydantic_reads_yaml_values_and_refuses_unknown_keys():
    adapter = TypeAdapter(QuantOptions)
    options = adapter.validate_python(
        {"name": "lsq", "per_layer": [{"layers": ["first", "last"], "weight_bits": 8, "activation_bits": 8}]}
    )
    assert options.per_layer == (LayerRule(("first", "last"), weight_bits=8, activation_bits=8),)
    for wrong in ({"gird": "alpha"}, {"weight_bits": 8.5}, {"per_layer": [{"layers": ["a"], "bits": 4}]}):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


def test_options_import_without_paddle():
    code = "import sys, ppcls_compress.slim.options; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Quantization after training: PaddleSlim's ranges, the class, bias correction, the record."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest
from paddle.quantization.imperative import ptq_quantizer

from ppcls_compress.errors import UserError
from ppcls_compress.slim import PTQ, quant
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.quant.quantizers import activations, ranges

nn = paddle.nn
IMAGES = paddle.to_tensor(np.random.default_rng(0).normal(size=(16, 3, 8, 8)).astype("float32"))


PERCENTILE_60 = {"activation_quantizer": "PercentileQuantizer", "percentile": 60.0}


def network() -> nn.Layer:
    paddle.seed(5)
    model = nn.Sequential(
        nn.Conv2D(3, 6, 3, bias_attr=False),
        nn.BatchNorm2D(6),
        nn.ReLU(),
        nn.Conv2D(6, 4, 3, bias_attr=False),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    model[1]._mean.set_value(np.linspace(-0.5, 0.5, 6).astype("float32"))
    model[1]._variance.set_value(np.linspace(0.5, 2, 6).astype("float32"))
    model.eval()
    return model


def batches(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(rng.standard_t(3, size=(4, 500)) * size).astype("float32") for size in (1.0, 2.5, 0.3)]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("name", ["AbsmaxQuantizer", "HistQuantizer", "KLQuantizer"])
@pytest.mark.parametrize("seed", [0, 1])
def test_ranges_equal_paddles(name, bits, seed):
    theirs = getattr(ptq_quantizer, name)(quant_bits=bits)
    ours = ranges.build(QuantOptions(name="ptq", activation_quantizer=name, activation_bits=bits))
    for values in batches(seed):
        ours.add(values)
        theirs.sample_data(None, (paddle.to_tensor(values),))
    if name == "HistQuantizer":
        # Paddle's own cannot turn its result into a number with NumPy 2, so its steps are repeated here.
        (counts,), (top,) = theirs.hists, theirs.abs_max_vals
        reached = np.cumsum(counts / np.sum(counts, dtype=np.float64))
        expected = (np.argwhere(reached >= 0.99999)[0][0] - 0.5) * top / counts.size
    else:
        theirs.cal_thresholds()
        (expected,) = theirs.thresholds
    assert ours.range() == pytest.approx(expected, rel=1e-5)


def test_percentile_and_zeros():
    values = np.linspace(-1, 1, 2001).astype("float32")
    options = QuantOptions(name="ptq", activation_quantizer="PercentileQuantizer", percentile=90.0)
    percentile = ranges.build(options)
    percentile.add(values)
    percentile.add(values * 3)
    assert percentile.range() == pytest.approx(0.9 * 2, rel=1e-3)
    for name in ("KLQuantizer", "HistQuantizer", "AbsmaxQuantizer"):
        observer = ranges.build(QuantOptions(name="ptq", activation_quantizer=name))
        observer.add(np.zeros(10, "float32"))
        assert observer.range() == 0


@pytest.mark.parametrize("name", ["KLQuantizer", "HistQuantizer", "AbsmaxQuantizer", "PercentileQuantizer"])
def test_prepare_and_calibrate_stay_close_to_float(name):
    expected = network()(IMAGES).numpy()
    options = QuantOptions(name="ptq", activation_quantizer=name)
    model, record = quant.prepare(network(), options, inputs=[[1, 3, 8, 8]])
    quant.calibrate(model, [IMAGES[:8], IMAGES[8:]])
    got = model(IMAGES).numpy()
    # KL clips a good deal of what so few values show.
    allowed = 0.3 if name == "KLQuantizer" else 0.06
    assert 0 < np.abs(got - expected).max() < allowed * np.abs(expected).max()
    assert record["folded"] == [["0", "1"]]
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    again = quant.apply_record(network(), json.loads(json.dumps(record)))
    assert again.set_state_dict(state) == ([], [])
    np.testing.assert_array_equal(again(IMAGES).numpy(), got)
    np.testing.assert_allclose(quant.to_inference(model)(IMAGES).numpy(), got, atol=1e-5)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_calibrated_range_rounds_as_its_formula_says(bits):
    options = QuantOptions(name="ptq", activation_quantizer="AbsmaxQuantizer", activation_bits=bits, asymmetric=False)
    quantizer = activations.build("layer", options)
    values, grad = np.random.default_rng(2).normal(size=(2, 5, 7)).astype("float32")
    seen = quantizer.observer()
    seen.add(values * 0.5)
    quantizer.calibrate(seen)
    x = paddle.to_tensor(values, stop_gradient=False)
    y = quantizer(x)
    y.backward(paddle.to_tensor(grad))
    limit = np.abs(values).max() * np.float32(0.5)
    scaled = np.clip(values, -limit, limit) * ((2 ** (bits - 1) - 1) / limit)
    expected = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5) * limit / (2 ** (bits - 1) - 1)
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-6)
    np.testing.assert_array_equal(x.grad.numpy(), grad)


def test_bias_correction_removes_the_mean_error():
    errors = {}
    for correct in (False, True):
        # Activations so fine that the weights are all that is rounded.
        options = QuantOptions(
            name="ptq",
            weight_bits=3,
            activation_bits=15,
            bias_correction=correct,
            activation_quantizer="AbsmaxQuantizer",
        )
        model, _ = quant.prepare(network(), options, inputs=[[1, 3, 8, 8]])
        quant.calibrate(model, iter([IMAGES[:8], IMAGES[8:]]))
        difference = (model[0](IMAGES) - nn.Sequential(*list(network())[:2])(IMAGES)).numpy()
        errors[correct] = np.abs(difference.mean(axis=(0, 2, 3))).max()
    assert errors[True] < 1e-5
    assert errors[False] > 1e-3


def test_the_class_observes_forward_passes_and_saves(tmp_path):
    ptq = PTQ()
    model = network()
    observed = ptq.quantize(model)
    assert not quant.quant_layers(model)
    np.testing.assert_array_equal(observed(IMAGES).numpy(), model(IMAGES).numpy())
    ptq.save_quantized_model(observed, str(tmp_path / "model"), [paddle.static.InputSpec([None, 3, 8, 8])])
    loaded = paddle.jit.load(str(tmp_path / "model"))
    np.testing.assert_allclose(loaded(IMAGES).numpy(), observed(IMAGES).numpy(), atol=1e-5)
    expected = model(IMAGES).numpy()
    assert 0 < np.abs(observed(IMAGES).numpy() - expected).max() < 0.3 * np.abs(expected).max()
    assert paddle.in_dynamic_mode()


def test_the_class_sets_the_ranges_that_paddles_does():
    theirs = paddle.quantization.ImperativePTQ().quantize(network(), inplace=True)
    theirs(IMAGES)
    paddle.quantization.ImperativePTQ()._cal_thresholds(theirs)
    ptq = PTQ()
    ours = ptq.quantize(network())
    ours(IMAGES)
    ptq.convert(ours)
    for name in ("0", "3", "5"):
        expected = dict(theirs.named_sublayers())[name]._quant_config.in_act_quantizer.thresholds[0]
        assert dict(ours.named_sublayers())[name]._fake_quant_input.limit() == pytest.approx(expected, rel=1e-5)


def test_the_class_fuses_by_itself_and_by_a_list():
    expected = network()(IMAGES).numpy()
    for ptq, fuse_list in ((PTQ("HistQuantizer", hist_percent=0.999), [["0", "1"]]), (PTQ(quant_bits=6), None)):
        model = ptq.quantize(nn.Sequential(*list(network())[:3]), fuse=True, fuse_list=fuse_list)
        assert isinstance(model[1], nn.Identity)
        assert ptq.options.activation_bits in (6, 8)
        np.testing.assert_allclose(
            model(IMAGES).numpy(), nn.Sequential(*list(network())[:3])(IMAGES).numpy(), rtol=1e-4, atol=1e-5
        )
    assert expected.shape == (16, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation_quantizer": "KLQuantiser"}, "activation_quantizer: unknown value 'KLQuantiser'; did you mean"),
        ({"weight_quantizer": "KLQuantizer"}, "weight_quantizer: unknown value 'KLQuantizer'"),
        ({"quant_bit": 8}, "unknown argument of KLQuantizer 'quant_bit'; did you mean 'quant_bits'"),
        ({"quant_bits": 1}, "activation_bits: 1 is not a whole number"),
        ({"hist_percent": 0.9}, "hist_percent: 0.9 has no effect"),
        ({"bins": 128}, "bins: 128 are too few for 8 bits, at least 256 are needed"),
        ({"skp": ["0"]}, "unknown argument of KLQuantizer 'skp'; did you mean 'skip'"),
        ({"quant_bits": 8, "activation_bits": 8}, "quant_bits: is the same as activation_bits; leave one out"),
        ({"bias_correction": True}, "bias_correction: needs the batches twice"),
        ({"placement": "deploy"}, "placement: PTQ rounds what layers read"),
        ({"fuse_conv_bn": True}, r"fuse_conv_bn: .* quantize\(model, fuse=True\)"),
        ({"freeze_bn_epoch": 3}, "freeze_bn_epoch: 3 has no effect with name: ptq"),
        ({"unsigned": True}, "unsigned: True has no effect with name: ptq"),
        ({"name": "pact"}, "unknown argument of KLQuantizer 'name'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        PTQ(**arguments)


OPTIONS = [
    ({"skip": ["0"]}, lambda model: not hasattr(model[0], "_fake_quant_input")),
    ({"weight_bits": 4}, lambda model: model[0]._fake_quant_weight.bits == 4),
    ({"activation_bits": 6}, lambda model: model[0]._fake_quant_input.bits == 6),
    ({"per_layer": [{"layers": ["last"], "weight_bits": 4}]}, lambda model: model[5]._fake_quant_weight.bits == 4),
    ({"quantizable_layer_type": ["Linear"]}, lambda model: list(quant.quant_layers(model)) == ["5"]),
]


@pytest.mark.parametrize(("options", "holds"), OPTIONS)
def test_every_option_of_our_own_has_its_effect(options, holds):
    ptq = PTQ("AbsmaxQuantizer", **options)
    model = ptq.quantize(network())
    model(IMAGES)
    ptq.convert(model)
    assert holds(model)
    assert np.isfinite(model(IMAGES).numpy()).all()


def test_onnx_format_says_what_is_written(tmp_path):
    for onnx_format, expected in ((True, 3), (False, 0)):
        ptq = PTQ(onnx_format=onnx_format)
        model = ptq.quantize(network())
        model(IMAGES)
        path = str(tmp_path / str(onnx_format))
        ptq.save_quantized_model(model, path, [paddle.static.InputSpec([None, 3, 8, 8])])
        state = paddle.jit.load(path).state_dict()
        assert sum(value.dtype == paddle.int8 for value in state.values()) == expected


def test_folding_runs_the_model_on_the_shapes_that_it_takes():
    with pytest.raises(UserError, match=r"does not run on inputs of \[\[2, 3, 9, 9\]\]; .* as `inputs`, or do not"):
        PTQ().quantize(network(), fuse=True, inputs=[[2, 3, 9, 9]])
    model = PTQ().quantize(network(), fuse=True, inputs=[[2, 3, 8, 8]])
    assert isinstance(model[1], nn.Identity)
    np.testing.assert_allclose(model(IMAGES).numpy(), network()(IMAGES).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fuse_list", "message"),
    [
        ([["0"]], r"fuse_list: a pair \[convolution, batch norm\] to fold is needed, found \['0'\]"),
        (["01"], "fuse_list: a pair .* is needed, found '01'"),
        ("01", "fuse_list: a list of .* is needed, found '01'"),
        ([["5", "1"]], r"fuse_list: \['5', '1'\]: 5 is a Linear; .* this is no convolution"),
        ([["1", "0"]], r"fuse_list: \['1', '0'\]: 1 is a BatchNorm2D; .* this is no convolution"),
        ([["0", "2"]], r"fuse_list: \['0', '2'\]: 2 is a ReLU; .* this is no norm"),
        ([["3", "1"]], r"fuse_list: \['3', '1'\]: 3 has 4 channels, 1 normalizes 6"),
        ([["0", "1"], ["0", "1"]], "fuse_list: 0 is in two pairs"),
        ([["0", "bn"]], "fuse_list: unknown layer 'bn'"),
    ],
)
def test_bad_lists_to_fuse(fuse_list, message):
    model = network()
    before = {key: value.numpy() for key, value in model.state_dict().items()}
    with pytest.raises(UserError, match=message):
        PTQ().quantize(model, inplace=True, fuse=True, fuse_list=fuse_list)
    assert {key: value.numpy().tolist() for key, value in model.state_dict().items()} == {
        key: value.tolist() for key, value in before.items()
    }


def test_saving_without_data_is_refused(tmp_path):
    ptq = PTQ()
    model = ptq.quantize(network())
    with pytest.raises(UserError, match="calibration needs at least one batch"):
        ptq.save_quantized_model(model, str(tmp_path / "model"), [paddle.static.InputSpec([None, 3, 8, 8])])


@pytest.mark.parametrize("settings", [{"activation_quantizer": "HistQuantizer", "hist_percent": 0.6}, PERCENTILE_60])
def test_a_sparse_input_gets_a_range_from_its_values(settings):
    values = np.zeros(1000, "float32")
    values[:300] = np.linspace(0.1, 50, 300)
    observer = ranges.build(QuantOptions(name="ptq", **settings))
    observer.add(values)
    # Half a bin, as the fraction is reached in the first one; the largest magnitude, as the percentile is 0.
    assert observer.range() == pytest.approx(50 / 1024 / 2 if "hist_percent" in settings else 50)


def test_kl_tries_some_of_very_many_bins(monkeypatch):
    tried = []
    monkeypatch.setattr(ranges, "divergences", lambda _, sizes, levels: tried.extend(sizes) or abs(sizes - 50_000))
    observer = ranges.build(QuantOptions(name="ptq", activation_bits=16))
    observer.add(np.linspace(0, 1, 200_000, dtype="float32"))
    assert observer.range() == pytest.approx(50_000 / 65_536, rel=1e-3)
    assert 1024 < len(tried) <= 2048

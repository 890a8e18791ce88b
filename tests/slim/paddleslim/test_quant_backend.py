"""`backend: paddleslim`: PaddleSlim's QAT in our records and exports; with a stand-in, and the real one."""

from __future__ import annotations

import sys

import numpy as np
import paddle
import pytest
from support import quantizing
from support.paddleslim import Pact, StandInQAT, live, pretend

from ppcls_compress.errors import MissingDependencyError, UserError
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import LayerRule, QuantOptions
from ppcls_compress.slim.paddleslim import state_dict

nn = paddle.nn
RNG = np.random.default_rng(0)
IMAGES = paddle.to_tensor(RNG.normal(size=(4, 3, 8, 8)).astype("float32"))
LABELS = paddle.to_tensor([0, 1, 2, 0])


@pytest.fixture(params=["stand-in", "installed"])
def paddleslim(request, monkeypatch):
    if request.param == "installed":
        live()
    else:
        pretend(monkeypatch, QAT=StandInQAT)


def network() -> nn.Layer:
    paddle.seed(5)
    return nn.Sequential(
        nn.Conv2D(3, 6, 3), nn.BatchNorm2D(6), nn.ReLU(), nn.Conv2D(6, 4, 3), nn.Conv2DTranspose(4, 4, 1), nn.Flatten(),
        nn.Linear(64, 3),
    )  # fmt: skip


def prepared(**options):
    return quant.prepare(network(), QuantOptions(backend="paddleslim", **options))


def train(model: nn.Layer, steps: int = 3) -> None:
    optimizer = paddle.optimizer.Momentum(1e-4, parameters=model.parameters())
    quantizing.train(model, IMAGES, LABELS, optimizer, steps)


CASES = [
    {},
    {"name": "qat"},
    {"weight_bits": 4, "activation_bits": 3, "moving_rate": 0.7, "weight_quantize_type": "abs_max"},
    {"weight_preprocess_type": "PACT", "onnx_format": False},
    {"quantizable_layer_type": ("Conv2D", "Conv2DTranspose", "Linear"), "skip": ("3",)},
]


@pytest.mark.parametrize("options", CASES)
def test_it_trains_reloads_from_its_record_and_deploys_as_it_computes(paddleslim, options):
    model, record = prepared(**options)
    quant.calibrate(model, [IMAGES])
    train(model)
    expected = model(IMAGES).numpy()
    again = quant.apply_record(network(), record)
    assert again.set_state_dict(quantizing.state_of(model)) == ([], [])
    again.eval()
    np.testing.assert_array_equal(again(IMAGES).numpy(), expected)
    np.testing.assert_allclose(quant.to_inference(model)(IMAGES).numpy(), expected, atol=1e-6)
    assert list(quant.grids(model)) == record["quantized"]
    np.testing.assert_array_equal(model(IMAGES).numpy(), expected)


def test_the_same_layers_are_quantized_as_by_the_native_backend(paddleslim):
    options = {"quantizable_layer_type": ("depthwise", "Linear", "Conv2DTranspose"), "skip": ("Conv2DTranspose",)}
    records = [quant.prepare(network(), QuantOptions(backend=b, **options))[1] for b in ("native", "paddleslim")]
    assert records[0]["quantized"] == records[1]["quantized"] == ["6"]
    assert records[0]["skipped"] == records[1]["skipped"]


def test_native_training_on_paddleslims_grid_stays_with_paddleslims(paddleslim):
    theirs, _ = prepared()
    ours, _ = quant.prepare(network(), QuantOptions(compat="paddleslim"))
    for model in (theirs, ours):
        train(model)
    np.testing.assert_allclose(ours(IMAGES).numpy(), theirs(IMAGES).numpy(), atol=1e-5)
    rows = [
        [(row["layer"], row["alpha"], pytest.approx(row["limit"], rel=1e-5)) for row in quant.statistics(model)]
        for model in (ours, theirs)
    ]
    assert rows[0] == rows[1]


def test_converting_back_gives_the_float_layers_with_the_trained_weights(paddleslim):
    model, _ = prepared(onnx_format=False)
    train(model)
    trained = quantizing.state_of(model)
    model = quant.convert(model)
    assert set(model.state_dict()) == set(network().state_dict())
    assert [type(layer) for layer in model] == [type(layer) for layer in network()]
    np.testing.assert_array_equal(model[0].weight.numpy(), trained["0._layer.weight"])
    assert not any(layer.training or hasattr(layer, "skip_quant") for layer in model.sublayers())
    assert quant.native(model) is model


def test_layers_in_a_list_are_swapped_too(paddleslim):
    class Listed(nn.Layer):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.steps = [self.first]

        def forward(self, x):
            return self.steps[0](x)

    model, _ = quant.prepare(Listed(), QuantOptions(name="qat", backend="paddleslim", activation_bits=2))
    model(paddle.randn([2, 4]))
    assert model.first is model.steps[0]
    assert quant.statistics(model)[0]["limit"] > 0.1
    assert isinstance(quant.convert(model).steps[0], nn.Linear)


def test_classes_of_the_users_own_go_to_paddleslim(paddleslim):
    class Half(nn.Layer):
        def forward(self, x):
            return x * 0.5

    custom = quant.CustomParts(act_quantize=Half, weight_preprocess=Half)
    model, record = quant.prepare(network(), QuantOptions(backend="paddleslim"), custom=custom)
    train(model)
    np.testing.assert_allclose(quant.to_inference(model)(IMAGES).numpy(), model(IMAGES).numpy(), atol=1e-6)
    assert record["custom"] == ["act_quantize", "weight_preprocess"]


def test_a_checkpoint_of_paddleslims_fits_as_it_is(paddleslim):
    theirs = network()
    config = {"dtype": "int8", "activation_preprocess_type": "PACT", "weight_preprocess_type": None}
    StandInQAT({**config, "weight_quantize_type": "channel_wise_abs_max", "onnx_format": True}).quantize(theirs)
    train(theirs)
    ours, _ = prepared(quantizable_layer_type=("Conv2D", "Conv2DTranspose", "Linear"))
    assert state_dict.is_paddleslim(quantizing.state_of(theirs))
    assert ours.set_state_dict(state_dict.from_paddleslim(ours, quantizing.state_of(theirs))) == ([], [])
    ours.eval()
    np.testing.assert_array_equal(ours(IMAGES).numpy(), theirs(IMAGES).numpy())


def test_a_model_is_not_quantized_twice(paddleslim):
    model, _ = prepared()
    with pytest.raises(UserError, match="0 is quantized already"):
        quant.prepare(model, QuantOptions())


def test_a_failure_of_paddleslim_is_one_line_and_leaves_the_model_alone(monkeypatch):
    class Failing(StandInQAT):
        def quantize(self, model):
            model[3] = Pact()
            raise AssertionError("unsupported\nlayer")

    pretend(monkeypatch, QAT=Failing)
    model = network()
    model[0].skip_quant = False
    before = list(model)
    with pytest.raises(UserError, match="paddleslim cannot quantize this network: AssertionError: unsupported$"):
        quant.prepare(model, QuantOptions(backend="paddleslim", skip=("0",)))
    assert all(now is then for now, then in zip(model, before, strict=True))
    assert model[0].skip_quant is False
    assert not hasattr(model[4], "skip_quant")


def test_without_paddleslim_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "paddleslim", None)
    with pytest.raises(MissingDependencyError, match="Slim.quant.backend: paddleslim: .* extra `paddleslim`"):
        prepared()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "lsq"}, "name: backend paddleslim has no lsq; it has pact, qat"),
        ({"name": "ptq"}, "name: backend paddleslim has no ptq"),
        ({"grid": "alpha"}, "grid: alpha contradicts compat: paddleslim"),
        ({"unsigned": True}, "unsigned: True has no effect with name: pact, .*compat: paddleslim"),
        ({"alpha_init": "mse"}, "alpha_init: 'mse' has no effect"),
        ({"weight_quantize_type": "lsq_weight"}, "weight_quantize_type: backend paddleslim has no lsq_weight"),
        ({"name": "qat", "weight_quantize_type": "range_abs_max"}, "has no range_abs_max; it has channel_wise_abs_max"),
        ({"name": "qat", "activation_quantize_type": "abs_max"}, "activation_quantize_type: backend .* has no abs_max"),
        ({"per_layer": (LayerRule(("first",), weight_bits=8),)}, "per_layer: backend paddleslim has nothing like it"),
        ({"freeze_bn_epoch": 1}, "freeze_bn_epoch: backend paddleslim has nothing like it"),
        ({"observer_epochs": 1}, "observer_epochs: backend paddleslim has nothing like it"),
        ({"fuse_conv_bn": True}, "fuse_conv_bn: backend paddleslim folds the batch norms of a copy"),
    ],
)
def test_what_paddleslim_cannot_do_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        QuantOptions(backend="paddleslim", **options)
    assert QuantOptions(backend="paddleslim").compat == "paddleslim"
    assert QuantOptions(backend="paddleslim", name="qat").compat is None


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="backend: unknown value 'paddleslm'; did you mean 'paddleslim'"):
        QuantOptions(backend="paddleslm")

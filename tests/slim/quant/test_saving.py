"""A quantized model saved by Paddle's own means computes what it does in evaluation, whatever was called before."""

import copy

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

X = paddle.to_tensor(np.random.default_rng(3).standard_normal((16, 3, 6, 6)).astype("float32"))
INPUTS = [[1, 3, 6, 6]]
SPEC = [paddle.static.InputSpec([None, 3, 6, 6], "float32", "x")]
OPTIONS = [
    {"name": "pact"},
    {"name": "pact", "grid": "moving_average"},
    {"name": "pact", "weight_preprocess_type": "PACT"},
    {"name": "pact", "compat": "paddleslim"},
    {"name": "pact", "placement": "deploy"},
    {"name": "lsq"},
    {"name": "lsq", "weight_quantize_type": "lsq_weight"},
    {"name": "lsq", "placement": "deploy"},
    {"name": "qat"},
    {"name": "qat", "activation_quantize_type": "abs_max"},
    {"name": "qat", "activation_quantize_type": "range_abs_max"},
    {"name": "qat", "weight_quantize_type": "moving_average_abs_max"},
    {"name": "qat", "weight_quantize_type": "range_abs_max"},
    {"name": "ptq"},
    {"name": "ptq", "placement": "deploy"},
]


SOME = [OPTIONS[index] for index in (0, 4, 5, 8, 13)]


def network():
    paddle.seed(4)
    return nn.Sequential(nn.Conv2D(3, 4, 3), nn.ReLU(), nn.Conv2D(4, 4, 3), nn.Flatten(), nn.Linear(16, 5))


def name_of(options):
    return "_".join(map(str, options.values()))


def trained(options):
    model, _ = quant.prepare(network(), QuantOptions(**options), inputs=INPUTS)
    quant.calibrate(model, [0.9 * X])
    model.train()
    optimizer = paddle.optimizer.Momentum(0.001, parameters=model.parameters())
    model(X).sum().backward()
    optimizer.step()
    optimizer.clear_grad()
    model.eval()
    return model


def jit_save(model, path):
    paddle.jit.save(model, path, input_spec=SPEC)


def model_save(model, path):
    paddle.Model(model, inputs=SPEC).save(path, training=False)


@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
def test_after_the_state_was_asked_for(options, tmp_path):
    model = trained(options)
    expected = model(X).numpy()
    model.state_dict()
    (model_save if options in SOME else jit_save)(model, str(tmp_path / "model"))
    np.testing.assert_allclose(paddle.jit.load(str(tmp_path / "model"))(X).numpy(), expected, atol=1e-6)
    if not paddle.__version__.startswith("3.0."):  # whose own way of saving leaves each layer's traced forward on it
        np.testing.assert_array_equal(model(X).numpy(), expected)


@pytest.mark.parametrize("options", SOME, ids=name_of)
def test_in_training_mode_it_is_saved_as_in_evaluation_with_a_warning(options, tmp_path):
    model = trained(options)
    expected = model(X).numpy()
    model.train()
    before = {name: value.numpy() for name, value in model.state_dict().items()}
    with pytest.warns(UserWarning, match="traced in training mode: .* call model.eval") as caught:
        jit_save(model, str(tmp_path / "model"))
    assert sum("traced in training mode" in str(item.message) for item in caught) == 1
    np.testing.assert_allclose(paddle.jit.load(str(tmp_path / "model"))(X).numpy(), expected, atol=1e-6)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


@pytest.mark.parametrize("options", SOME, ids=name_of)
def test_a_static_layer_answers_alike(options):
    model = trained(options)
    static = paddle.jit.to_static(copy.deepcopy(model), full_graph=True)
    static.eval()
    np.testing.assert_allclose(static(X).numpy(), model(X).numpy(), atol=1e-6)


@pytest.mark.parametrize("options", SOME, ids=name_of)
def test_what_saw_no_data_is_not_saved(options, tmp_path):
    model, _ = quant.prepare(network(), QuantOptions(**options), inputs=INPUTS)
    model.eval()
    with pytest.raises(Exception, match="not calibrated; call slim.quant.calibrate"):
        jit_save(model, str(tmp_path / "model"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "lsq"}, "the range of its weight starts in the first forward pass, of which there was none"),
        ({"name": "qat", "weight_quantize_type": "range_abs_max"}, "the range of its weight starts in the first"),
    ],
)
def test_weights_whose_range_never_started_are_not_saved(options, says, tmp_path):
    model, _ = quant.prepare(network(), QuantOptions(**options), inputs=INPUTS)
    for layer in quant.quant_layers(model).values():
        layer._fake_quant_input.calibrate(observed(layer))
    model.eval()
    with pytest.raises(Exception, match=says):
        jit_save(model, str(tmp_path / "model"))


def observed(layer):
    seen = layer._fake_quant_input.observer()
    seen.add(np.ones([2, 2], np.float32))
    return seen

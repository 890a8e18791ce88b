import json

import numpy as np
import paddle
import pytest
from support.exporting import export

from ppcls_compress import models
from ppcls_compress.deploy import verify
from ppcls_compress.deploy.formats import FORMATS
from ppcls_compress.deploy.network import BATCH, logits_of
from ppcls_compress.deploy.paddle import export as paddle_export
from ppcls_compress.deploy.predictor import Predictor
from ppcls_compress.errors import UserError
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

SHAPE = (3, 32, 32)


def images(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, *SHAPE), np.float32)


def network(name="CIFARResNet8", seed=0):
    """A network with batch statistics that are not their initial ones."""
    paddle.seed(seed)
    model = models.build(name, class_num=7)
    model.train()
    with paddle.no_grad():
        model(paddle.to_tensor(images(8, seed + 1)))
    return model


def quantized(model):
    model, step = quant.prepare(model, QuantOptions(name="pact"))
    quant.calibrate(model, [paddle.to_tensor(images(8))])
    return model, {"version": 1, "steps": [step]}


def largest_difference(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", ["CIFARResNet8", "MobileNetV3_small_x0_35", "PPLCNet_x0_25"])
def test_artifact_equals_model_at_any_batch_size(tmp_path, name):
    model = network(name)
    export(model, tmp_path, image_shape=SHAPE, output="logits")
    predictor = Predictor(tmp_path, threads=1)
    for count in (1, 5, 2):
        expected = logits_of(model, images(count))
        assert largest_difference(predictor.run(images(count)), expected) < 1e-5


def test_softmax_is_upstreams_default(tmp_path):
    model = network()
    export(model, tmp_path, image_shape=SHAPE)
    found = Predictor(tmp_path, threads=1).run(images(4))
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    expected = paddle.nn.functional.softmax(paddle.to_tensor(logits_of(model, images(4)))).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_probabilities_of_labels_are_those_of_a_sigmoid(tmp_path):
    model = network()
    export(model, tmp_path, image_shape=SHAPE, output="label_probabilities")
    predictor = Predictor(tmp_path, threads=1)
    logits = logits_of(model, images(4))
    np.testing.assert_allclose(predictor.run(images(4)), 1 / (1 + np.exp(-logits)), rtol=1e-4)
    np.testing.assert_allclose(predictor.logits(images(4)), logits, atol=1e-4)


def test_nothing_else_changes(tmp_path):
    model = network()
    model.blocks.eval()
    flags = [layer.training for layer in model.sublayers(include_self=True)]
    before = {name: value.numpy() for name, value in model.state_dict().items()}
    attributes = set(vars(model))
    frozen = [parameter.stop_gradient for parameter in model.parameters()]
    export(model, tmp_path, image_shape=SHAPE)
    assert paddle.in_dynamic_mode()
    assert paddle.get_default_dtype() == "float32"
    assert [layer.training for layer in model.sublayers(include_self=True)] == flags
    assert set(vars(model)) == attributes
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    assert [parameter.stop_gradient for parameter in model.parameters()] == frozen


def test_quantized_network_has_integer_weights_and_its_record(tmp_path):
    dense = export(network(), tmp_path / "dense", image_shape=SHAPE)
    model, record = quantized(network())
    small = export(model, tmp_path / "small", image_shape=SHAPE, record=record, output="logits")
    assert small.artifact.record == json.loads(json.dumps(record))
    assert small.artifact.integers
    assert small.artifact.description.integer_layers == len(record["steps"][0]["quantized"])
    parameters = FORMATS["paddle"].files[1]
    assert small.artifact.files[parameters] < 0.3 * dense.artifact.files[parameters]
    assert small.artifact.bytes == sum(path.stat().st_size for path in (tmp_path / "small").iterdir())
    found = Predictor(tmp_path / "small", threads=1).run(images(6))
    assert largest_difference(found, logits_of(model, images(6))) < 0.02


def test_first_of_several_outputs(tmp_path):
    class TwoHeads(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.trunk = network()

        def forward(self, x):
            return [self.trunk(x), x]

    model = TwoHeads()
    export(model, tmp_path, image_shape=SHAPE, output="logits")
    expected = logits_of(model.trunk, images(2))
    assert largest_difference(Predictor(tmp_path, threads=1).run(images(2)), expected) < 1e-5


def test_checked_in_a_fresh_process(tmp_path):
    result = export(network(), tmp_path, image_shape=SHAPE, images=images(BATCH + 1))
    assert result.parity.images == f"{BATCH + 1} images"
    assert result.parity.agreement == 1
    assert result.parity.max_difference < 1e-5


def test_failed_check_keeps_the_earlier_artifact(tmp_path, monkeypatch):
    first = network(seed=1)
    export(first, tmp_path, image_shape=SHAPE, output="logits")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(
        verify, "run_fresh", lambda directory, images, runtime=None: (np.zeros((len(images), 7), np.float32), {})
    )
    with pytest.raises(UserError, match="does not compute what the trained one does"):
        export(network(seed=2), tmp_path, image_shape=SHAPE, images=images(4))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_failed_capture_keeps_the_mode(tmp_path):
    class Broken(paddle.nn.Layer):
        def forward(self, x):
            return paddle.reshape(x, [7, 11, 13])

    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever Paddle raises
        export(Broken(), tmp_path / "out", image_shape=SHAPE)
    assert paddle.in_dynamic_mode()
    assert not (tmp_path / "out").exists()


def test_network_without_parameters(tmp_path):
    with pytest.raises(UserError, match="ReLU has no parameters"):
        export(paddle.nn.ReLU(), tmp_path, image_shape=SHAPE)


def test_legacy_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(paddle_export.paddle.jit, "save", lambda *args, **options: None)
    with pytest.raises(UserError, match="FLAGS_enable_pir_api"):
        export(network(), tmp_path, image_shape=SHAPE)

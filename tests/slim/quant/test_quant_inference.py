"""The deployed form: equal to the model that was trained, saved with a free batch size, run in another process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import paddle
import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

nn = paddle.nn


def network() -> nn.Layer:
    paddle.seed(3)
    return nn.Sequential(
        nn.Conv2D(3, 8, 3, padding=1, bias_attr=False),
        nn.BatchNorm2D(8),
        nn.ReLU(),
        nn.Conv2D(8, 8, 3, groups=8, padding=1, padding_mode="reflect"),
        nn.Hardswish(),
        nn.Conv2DTranspose(8, 6, 2, stride=2),
        nn.AdaptiveAvgPool2D(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


TYPES = ("Conv2D", "Conv2DTranspose", "Linear")


def trained(**options) -> tuple[nn.Layer, paddle.Tensor]:
    model, _ = quant.prepare(network(), QuantOptions(quantizable_layer_type=TYPES, **options))
    images = paddle.randn([8, 3, 8, 8])
    quant.calibrate(model, [images])
    optimizer = paddle.optimizer.Momentum(0.05, parameters=model.parameters())
    model.train()
    for _ in range(3):
        paddle.nn.functional.cross_entropy(model(images), paddle.arange(8) % 5).backward()
        optimizer.step()
        optimizer.clear_grad()
    model.eval()
    return model, images


@pytest.mark.parametrize(
    "options",
    [{"asymmetric": False}, {"grid": "moving_average"}, {"name": "qat", "weight_bits": 4, "asymmetric": False}],
)
def test_the_integers_are_bit_for_bit_what_was_trained(options):
    model, images = trained(**options)
    np.testing.assert_array_equal(quant.to_inference(model)(images).numpy(), model(images).numpy())


def test_grids_say_what_an_exporter_needs():
    model, _ = trained(weight_bits=4, activation_bits=4, asymmetric=False)
    grids = quant.grids(model)
    assert list(grids) == ["0", "3", "5", "8"]
    first, relu = grids["0"], grids["3"]
    assert (first.input.low, first.input.high, relu.input.low, relu.input.high) == (-7, 7, 0, 15)
    assert first.input.scale == pytest.approx(model[0]._fake_quant_input.limit() / 7)
    assert first.weight.integers.dtype == np.int8
    assert np.abs(first.weight.integers).max() == 7
    assert (first.weight.axis, grids["8"].weight.axis) == (0, 1)
    assert first.weight.scale.shape == (8,)
    lsq, _ = trained(name="lsq", weight_bits=3, activation_bits=3, asymmetric=False)
    assert (quant.grids(lsq)["0"].input.low, quant.grids(lsq)["0"].input.high) == (-4, 3)


def test_half_precision_inputs_are_rounded_in_float32():
    model, images = trained()
    np.testing.assert_allclose(model[0](images.astype("float16")).numpy(), model[0](images).numpy(), atol=0.05)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"asymmetric": False},
        {"grid": "moving_average"},
        {"name": "qat"},
        {"name": "qat", "asymmetric": False},
        {"weight_bits": 4, "activation_bits": 3, "unsigned": False},
        {"weight_bits": 12, "activation_bits": 16},
        {"name": "qat", "activation_quantize_type": "abs_max", "weight_quantize_type": "abs_max"},
        {"name": "qat", "activation_quantize_type": "range_abs_max", "weight_quantize_type": "range_abs_max"},
        {"name": "qat", "weight_quantize_type": "moving_average_abs_max"},
        {"activation_quantize_type": "range_abs_max", "weight_preprocess_type": "PACT"},
        {"activation_quantize_type": "abs_max"},
        {"compat": "paddleslim"},
        {"name": "lsq", "weight_bits": 4, "activation_bits": 4},
        {"name": "lsq", "weight_bits": 2, "activation_bits": 2, "weight_quantize_type": "lsq_weight"},
    ],
)
def test_inference_form_equals_the_fake_quantized_model(options):
    model, images = trained(**options)
    before = {key: value.numpy() for key, value in model.state_dict().items()}
    deployed = quant.to_inference(model)
    np.testing.assert_allclose(deployed(images).numpy(), model(images).numpy(), rtol=1e-5, atol=1e-6)
    kind = paddle.int8 if options.get("weight_bits", 8) <= 8 else paddle.int16
    assert deployed[0].weight_integers.dtype == kind
    assert all(np.array_equal(before[key], value.numpy()) for key, value in model.state_dict().items())


RUN = """
import sys, numpy as np
from paddle import inference
prefix, data, out = sys.argv[1:]
config = inference.Config(prefix + ".json", prefix + ".pdiparams")
predictor = inference.create_predictor(config)
images = np.load(data)
results = []
for batch in (images[:1], images):
    handle = predictor.get_input_handle(predictor.get_input_names()[0])
    handle.reshape(batch.shape)
    handle.copy_from_cpu(batch)
    predictor.run()
    results.append(predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu())
np.savez(out, *results)
"""


@pytest.mark.slow
def test_saved_form_runs_in_a_fresh_process_at_any_batch_size(tmp_path):
    model, images = trained()
    prefix = str(tmp_path / "inference")
    spec = paddle.static.InputSpec([None, 3, 8, 8], "float32")
    paddle.jit.save(quant.to_inference(model), prefix, input_spec=[spec])
    np.save(tmp_path / "images.npy", images.numpy())
    command = [sys.executable, "-c", RUN, prefix, str(tmp_path / "images.npy"), str(tmp_path / "out.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    one, all_of_them = np.load(tmp_path / "out.npz").values()
    expected = model(images).numpy()
    np.testing.assert_allclose(all_of_them, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one, expected[:1], rtol=1e-4, atol=1e-5)


def test_an_uncalibrated_model_is_refused_and_named():
    model, _ = quant.prepare(network(), QuantOptions())
    with pytest.raises(UserError, match="0: its activation range is not calibrated"):
        quant.to_inference(model)


def test_a_float_model_is_refused():
    with pytest.raises(UserError, match="holds no quantized layer"):
        quant.to_inference(network())

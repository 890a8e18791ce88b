"""Ranges from batches: what is observed, what stays untouched, what is refused."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.quantized import IMAGES, network, prepared

from ppcls_compress.errors import UserError
from ppcls_compress.slim import quant, recipe
from ppcls_compress.slim.options import QuantOptions, SlimOptions

nn = paddle.nn


def test_the_whole_range_at_percentile_100():
    model = prepared(alpha_init="percentile", alpha_percentile=100, asymmetric=False)
    quant.calibrate(model, [IMAGES, IMAGES * 3])
    assert model[0]._fake_quant_input.limit() == pytest.approx(IMAGES.abs().max().item() * 3, rel=1e-6)


def test_fewer_bits_take_a_narrower_range():
    limits = []
    for bits in (8, 4, 2):
        model = prepared(activation_bits=bits)
        quant.calibrate(model, [IMAGES])
        limits.append(model[0]._fake_quant_input.limit())
    assert limits[0] > limits[1] > limits[2] > 0


@pytest.mark.parametrize("name", ["pact", "lsq", "qat"])
def test_what_lies_on_one_side_of_zero_and_is_rounded_on_both_is_told(name):
    for asymmetric in (False, "auto"):
        model = nn.Sequential(nn.Conv2D(3, 8, 1), nn.Hardswish(), nn.Conv2D(8, 8, 3, groups=8))
        model[0].weight.set_value(4 * np.random.default_rng(1).standard_normal((8, 3, 1, 1), np.float32))
        options = SlimOptions(quant=QuantOptions(name=name, asymmetric=asymmetric))
        _, record = recipe.compress(model, options, [[1, 3, 8, 8]], context=recipe.Context(lambda: [IMAGES]))
        (step,) = record["steps"]
        told = "what 2 read lies mostly on one side of zero and is rounded on both: asymmetric: auto"
        assert step.get("lopsided", []) == ([] if asymmetric else ["2"])
        assert (told in "\n".join(recipe.describe(step))) is (asymmetric is False)


def test_moving_average_of_the_batches_alone():
    model = prepared(name="qat", asymmetric=False)
    quant.calibrate(model, [IMAGES, IMAGES * 3])
    largest = IMAGES.abs().max().item()
    assert model[0]._fake_quant_input.limit() == pytest.approx((0.9 * largest + 3 * largest) / 1.9, rel=1e-5)


@pytest.mark.parametrize(
    ("asymmetric", "keys"),
    [(False, ("log_alpha", "_previous", "_sides")), ("auto", ("ends", "_unit", "_previous", "_sides"))],
)
def test_nothing_but_the_ranges_changes(asymmetric, keys):
    model = prepared(asymmetric=asymmetric)
    model.train()
    model[1].eval()
    before = {key: value.numpy() for key, value in model.state_dict().items()}
    quant.calibrate(model, [IMAGES])
    changed = {key for key, value in model.state_dict().items() if not np.array_equal(before[key], value.numpy())}
    assert changed == {f"{layer}._fake_quant_input.{key}" for layer in (0, 4, 6) for key in keys}
    assert [layer.training for layer in model] == [True, False, True, True, True, True, True]
    assert not model[0]._forward_pre_hooks


def test_batch_norms_that_were_never_trained_use_the_batch():
    model = prepared(name="qat")
    quant.calibrate(model, [IMAGES * 1000])
    assert model[4]._fake_quant_input.limit() < 10
    model = prepared(name="qat")
    model[1]._variance.set_value(np.full(6, 4.0, "float32"))
    quant.calibrate(model, [IMAGES * 1000])
    assert model[4]._fake_quant_input.limit() > 100


def finite(layer: nn.Layer) -> bool:
    return all(np.isfinite(value.numpy()).all() for value in layer.state_dict().values())


def found_range(model) -> float:
    row = quant.statistics(model)[0]
    return row["limit"] if row["alpha"] is None else row["alpha"]


@pytest.mark.parametrize("rate", [0.1, 1e4])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"asymmetric": True},
        {"asymmetric": False},
        {"grid": "moving_average"},
        {"activation_quantize_type": "abs_max"},
        {"name": "lsq"},
        {"name": "lsq", "asymmetric": False},
    ],
)
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_ranges_stay_positive_and_finite_at_any_scale_of_the_input(options, scale, rate):
    model = prepared(activation_bits=4, **options)
    images = IMAGES * scale
    quant.calibrate(model, [images])
    optimizer = paddle.optimizer.Momentum(rate, 0.9, parameters=model.parameters(), weight_decay=1e-4)
    model.train()
    steps = 30 if rate < 1 else 5
    for _ in range(steps):
        paddle.nn.functional.cross_entropy(model(images), paddle.to_tensor([0, 1, 2, 0])).backward()
        optimizer.step()
        optimizer.clear_grad()
        for row in quant.statistics(model):
            found = [row[key] for key in ("limit", "alpha") if row[key] is not None]
            assert np.isfinite(found).all()
            assert min(found) > 0
    limit = found_range(model)
    assert limit > 0.5 * scale if rate < 1 else limit > 0.9**steps * scale
    assert limit < 20 * scale
    assert finite(model)


def test_one_huge_gradient_moves_alpha_by_a_tenth():
    model = prepared(asymmetric=False)
    quant.calibrate(model, [IMAGES])
    inputs = model[0]._fake_quant_input
    start = inputs.limit()
    for value, expected in ((-1e9, 1 / 1.1), (1e9, 1.0)):
        inputs.log_alpha.set_value(np.array([value], "float32"))
        assert inputs.limit() == pytest.approx(start * expected, rel=1e-5)
        model.train()
        model(IMAGES)
        assert inputs.limit() == pytest.approx(start * expected, rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"asymmetric": True},
        {"asymmetric": False},
        {"grid": "moving_average"},
        {"name": "lsq"},
        {"name": "lsq", "asymmetric": True},
        {"name": "lsq", "asymmetric": False},
    ],
)
def test_a_gradient_or_an_input_that_is_nan_leaves_the_range_a_number(options):
    model = prepared(**options)
    quant.calibrate(model, [IMAGES])
    inputs = model[0]._fake_quant_input
    start = inputs.range()
    for parameter in inputs.parameters():
        parameter.set_value(np.full(parameter.shape, np.nan, "float32"))
    model.train()
    model(IMAGES * float("nan")).sum().backward()
    assert 0.5 * start < inputs.range() < 1.5 * start
    assert inputs.limit() > 0
    assert finite(model[0])


def test_training_without_calibration_starts_from_the_first_batch():
    model = prepared()
    model.train()
    model(IMAGES)
    expected = prepared()
    quant.calibrate(expected, [IMAGES])
    assert model[0]._fake_quant_input.limit() == pytest.approx(expected[0]._fake_quant_input.limit())


@pytest.mark.parametrize(
    "options",
    [{}, {"grid": "moving_average"}, {"name": "qat"}, {"name": "lsq"}, {"name": "ptq", "fuse_conv_bn": False}],
)
def test_evaluation_without_calibration_is_refused(options):
    model = prepared(**options)
    model.eval()
    with pytest.raises(UserError, match=r"0: its activation range is not calibrated; call slim\.quant\.calibrate"):
        model(IMAGES)


def test_no_batches_no_quantized_layers_and_unreached_layers():
    with pytest.raises(UserError, match="calibration needs at least one batch, found none"):
        quant.calibrate(prepared(), [])
    with pytest.raises(UserError, match="is not prepared for quantization"):
        quant.calibrate(network(), [IMAGES])

    class Unused(nn.Layer):
        def __init__(self):
            super().__init__()
            self.used = nn.Conv2D(3, 2, 1)
            self.extra = nn.Linear(2, 2)

        def forward(self, x):
            return self.used(x)

    model, _ = quant.prepare(Unused(), QuantOptions())
    with pytest.raises(UserError, match="no calibration data reached extra"):
        quant.calibrate(model, [IMAGES])


def test_data_that_is_not_finite_is_refused_and_the_model_left_usable():
    model = prepared()
    broken = IMAGES.numpy()
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(UserError, match="0: its input is not finite during calibration"):
        quant.calibrate(model, [paddle.to_tensor(broken)])
    model.train()
    with pytest.raises(UserError, match="0: what its range is to be calibrated from is not finite"):
        model(paddle.to_tensor(broken))
    assert all(layer.quantizing for layer in quant.quant_layers(model).values())
    quant.calibrate(model, [IMAGES])


def test_an_input_of_zeros_gets_a_positive_range():
    model = prepared()
    quant.calibrate(model, [IMAGES * 0])
    assert model[0]._fake_quant_input.limit() == pytest.approx(1.0)


def test_epochs_freeze_observers_and_batch_norms():
    options = QuantOptions(name="qat", observer_epochs=1, freeze_bn_epoch=3)
    model, _ = quant.prepare(network(), options)
    quant.calibrate(model, [IMAGES])

    def moves(epoch):
        model.train()
        quant.start_epoch(model, options, epoch)
        limit, mean = model[0]._fake_quant_input.limit(), model[1]._mean.numpy()
        model(IMAGES * (epoch + 1))
        return model[0]._fake_quant_input.limit() != limit, not np.array_equal(mean, model[1]._mean.numpy())

    assert [moves(epoch) for epoch in (1, 2, 3)] == [(True, True), (False, True), (False, False)]
    quant.freeze_batch_norms(model, False)
    assert moves(1) == (True, True)


@pytest.mark.parametrize("kind", ["moving_average_abs_max", "range_abs_max"])
def test_observed_weights_start_from_the_weights_even_if_frozen_at_once(kind):
    options = QuantOptions(name="qat", weight_quantize_type=kind, observer_epochs=0)
    model, _ = quant.prepare(network(), options)
    model.train()
    quant.calibrate(model, [IMAGES])
    quant.start_epoch(model, options, 1)
    largest = model[0].weight.abs().max().item()
    assert model[0].quantized_weight().abs().max().item() == pytest.approx(largest, rel=1e-6)
    quant.freeze_observers(model, False)
    model(IMAGES)
    assert model[0]._fake_quant_weight.limits(model[0].weight).item() == pytest.approx(largest, rel=1e-6)


def test_calibration_leaves_paddleslims_start_of_weights_alone():
    model = prepared(compat="paddleslim", weight_quantize_type="moving_average_abs_max")
    quant.calibrate(model, [IMAGES])
    assert model[0]._fake_quant_weight._scale.item() == pytest.approx(0.001)


@pytest.mark.parametrize("calibrated", [True, False])
def test_clipped_weights_train_in_several_processes(monkeypatch, calibrated):
    model = prepared(name="qat", weight_preprocess_type="PACT", asymmetric=False)
    if calibrated:
        quant.calibrate(model, [IMAGES])
        assert model[0]._weight_preprocess._sides.item() == 2
    monkeypatch.setattr(paddle.distributed, "get_world_size", lambda *_: 2)
    model.train()
    model(IMAGES).sum().backward()
    assert model[0]._weight_preprocess.log_alpha.grad is not None


def test_activations_are_not_calibrated_from_one_process_of_several(monkeypatch):
    model = prepared()
    monkeypatch.setattr(paddle.distributed, "get_world_size", lambda *_: 2)
    model.train()
    with pytest.raises(UserError, match="not calibrated"):
        model(IMAGES)


def test_a_state_that_is_loaded_between_training_steps_is_obeyed():
    model = prepared(weight_quantize_type="channel_wise_lsq_weight")
    quant.calibrate(model, [IMAGES])
    model.train()
    model(IMAGES)
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    assert not model[0]._fake_quant_input.unsigned
    model(IMAGES)
    state["0._fake_quant_input._sides"][:] = 1
    for key in ("s", "_previous"):
        state[f"0._fake_quant_weight.{key}"][:] = 0
    model.set_state_dict(state)
    model(IMAGES)
    assert model[0]._fake_quant_input.unsigned
    assert (model[0]._fake_quant_weight.s.numpy() > 0).all()


@pytest.mark.parametrize(("asymmetric", "entry"), [(False, "_scale"), ("auto", "_high")])
def test_a_fixed_range_that_a_loaded_state_lacks_is_refused_in_training(asymmetric, entry):
    model = prepared(name="ptq", fuse_conv_bn=False, asymmetric=asymmetric)
    quant.calibrate(model, [IMAGES])
    model.train()
    model(IMAGES)
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    model(IMAGES)
    for low in ("_low",) if asymmetric else ():
        state[f"0._fake_quant_input.{low}"][:] = 0
    state[f"0._fake_quant_input.{entry}"][:] = 0
    model.set_state_dict(state)
    with pytest.raises(UserError, match="0: its activation range is not calibrated"):
        model(IMAGES)

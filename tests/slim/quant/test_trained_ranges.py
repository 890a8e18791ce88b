"""Ranges in training: their rate and decay, what is counted as clipped, and that a resumed run is the same."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support.quantized import IMAGES, network, prepared

from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

nn = paddle.nn


@pytest.mark.parametrize("kind", [paddle.optimizer.SGD, paddle.optimizer.Momentum])
def test_alpha_has_its_own_rate_and_decay(kind):
    model = prepared(alpha_learning_rate=0.5, alpha_weight_decay=0.25, asymmetric=False)
    quant.calibrate(model, [IMAGES])
    parameter = model[0]._fake_quant_input.log_alpha
    start = parameter.item()
    optimizer = kind(0.01, parameters=model.parameters(), weight_decay=paddle.regularizer.L2Decay(100.0))
    parameter.grad = paddle.to_tensor([2.0])
    optimizer.step()
    assert parameter.item() == pytest.approx(start - 0.01 * 0.5 * (2.0 + 0.25), rel=1e-5)


def test_a_range_that_is_too_narrow_widens():
    paddle.seed(0)
    model, _ = quant.prepare(
        nn.Sequential(nn.Linear(8, 1)),
        QuantOptions(activation_bits=2, alpha_weight_decay=0.0, asymmetric=False),
    )
    data = paddle.randn([256, 8])
    target = data.sum(axis=1, keepdim=True)
    quant.calibrate(model, [data * 0.05])
    optimizer = paddle.optimizer.Adam(0.02, parameters=model.parameters())
    losses = []
    for _ in range(150):
        loss = (model(data) - target).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert 0.3 < model[0]._fake_quant_input.limit() < 3.0


def test_clip_rate_counts_the_first_samples_since_the_last_reset():
    model = prepared(alpha_init="percentile", alpha_percentile=100, asymmetric=False)
    quant.calibrate(model, [IMAGES])
    assert quant.statistics(model)[0]["clip_rate"] is None
    model.train()
    inputs = model[0]._fake_quant_input
    alpha = float(np.percentile(np.abs(IMAGES.numpy()), 90))
    inputs.set_range(alpha)
    model(IMAGES)
    row = quant.statistics(model)[0]
    assert row["clip_rate"] == pytest.approx((np.abs(IMAGES[:1].numpy()) >= alpha).mean(), abs=1e-6)
    assert row["alpha"] == pytest.approx(alpha)
    assert quant.statistics(model)[0]["clip_rate"] is None


def test_a_value_at_the_limit_is_not_clipped():
    model = prepared(alpha_init="percentile", alpha_percentile=100, alpha_weight_decay=0.0, asymmetric=False)
    quant.calibrate(model, [IMAGES])
    inputs = model[0]._fake_quant_input
    alpha = 0.5
    inputs.set_range(alpha)
    model.train()
    model(paddle.clip(IMAGES, -alpha, alpha))
    assert quant.statistics(model)[0]["clip_rate"] == 0


@pytest.mark.parametrize("compat", ["paddleslim", None])
def test_clips_of_weights_and_paddleslims_clip_are_counted(compat):
    model = prepared(compat=compat, weight_preprocess_type="PACT")
    if compat is None:
        quant.calibrate(model, [IMAGES])
    values = np.abs(model[0].weight.numpy())
    for part in (model[0]._weight_preprocess, model[0]._act_preprocess):
        if compat:
            part.alpha.set_value(np.array([0.1], "float32"))
    if compat is None:
        model[0]._weight_preprocess.set_range(0.1)
    model.train()
    model(IMAGES)
    row = quant.statistics(model)[0]
    assert row["weight_alpha"] == pytest.approx(0.1)
    assert row["weight_clip_rate"] == pytest.approx((values > 0.1).mean(), abs=1e-6)
    if compat:
        assert row["clip_rate"] == pytest.approx((np.abs(IMAGES[:1].numpy()) > 0.1).mean(), abs=1e-6)
    assert quant.statistics(model)[0]["weight_clip_rate"] is None


def test_an_uninterrupted_run_and_a_resumed_one_are_equal():
    def run(model, steps, optimizer):
        model.train()
        for _ in range(steps):
            paddle.nn.functional.cross_entropy(model(IMAGES), paddle.to_tensor([0, 1, 2, 0])).backward()
            optimizer.step()
            optimizer.clear_grad()

    def build():
        model, record = quant.prepare(network(dropout=0.0), QuantOptions(activation_bits=4))
        return model, record

    model, record = build()
    quant.calibrate(model, [IMAGES])
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    run(model, 3, optimizer)
    saved = {key: value.numpy() for key, value in model.state_dict().items()}
    run(model, 3, optimizer)
    resumed = quant.apply_record(network(dropout=0.0), record)
    resumed.set_state_dict(saved)
    run(resumed, 3, paddle.optimizer.SGD(0.1, parameters=resumed.parameters()))
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(resumed.state_dict()[key].numpy(), value.numpy(), err_msg=key)

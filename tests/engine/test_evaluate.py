import numpy as np
import paddle
import pytest

from ppcls_compress.engine.evaluate import evaluate, evaluate_model
from ppcls_compress.losses import build_loss
from ppcls_compress.losses.cross_entropy import CELoss
from ppcls_compress.metrics import build_metric
from ppcls_compress.metrics.topk import TopkAcc

METRIC = build_metric([TopkAcc(topk=(1, 2))])


def batches(*sizes):
    rng = np.random.default_rng(0)
    return [(paddle.to_tensor(rng.random((n, 4), np.float32)), paddle.to_tensor(rng.integers(0, 4, n))) for n in sizes]


def test_unequal_batches_weigh_by_their_samples():
    split = batches(5, 2, 1)
    whole = [tuple(paddle.concat(parts) for parts in zip(*split, strict=True))]
    first = evaluate(lambda images: images, split, METRIC, build_loss([CELoss()]))
    second = evaluate(lambda images: images, whole, METRIC, build_loss([CELoss()]))
    assert list(first) == ["top1", "top2", "loss"]
    assert first == pytest.approx(second, rel=1e-5)


def test_model_is_evaluated_in_evaluation_mode_and_put_back():
    model = paddle.nn.Sequential(paddle.nn.Dropout(0.9))
    model.train()
    data = batches(8)
    assert evaluate_model(model, data, METRIC) == evaluate(lambda images: images, data, METRIC)
    assert model.training

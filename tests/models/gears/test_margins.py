"""Logits against the papers' formulas, written out per image and class."""

import math

import numpy as np
import paddle
import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.models.gears import HEADS

N, D, C = 6, 8, 5
RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((N, D)).astype("float32")
LABELS = np.array([0, 3, 1, 4, 2, 2])


def head(name, **options):
    paddle.seed(1)
    return HEADS.get(name)(embedding_size=D, class_num=C, **options).build()


def cosines(layer, features=FEATURES):
    weight = (layer.kernel if hasattr(layer, "kernel") else layer.weight).numpy().astype("float64")
    return np.array(
        [[row @ column / np.linalg.norm(row) / np.linalg.norm(column) for column in weight.T] for row in features]
    )


def arc(cosine, margin, easy):
    angle = math.acos(cosine)
    if easy:
        return math.cos(angle + margin) if cosine > 0 else cosine
    return math.cos(angle + margin) if angle + margin < math.pi else cosine - margin * math.sin(margin)


def formula(name, cosine, right, options):
    margin, scale = options.get("margin"), options.get("scale")
    if name == "ArcMargin":
        return scale * (arc(cosine, margin, options.get("easy_margin", False)) if right else cosine)
    if name == "CosMargin":
        return scale * (cosine - margin if right else cosine)
    if right:
        return scale * max(1 + margin - cosine, 0) * (cosine - (1 - margin))
    return scale * max(cosine + margin, 0) * (cosine - margin)


CASES = [
    ("ArcMargin", {"margin": 0.2, "scale": 30.0}),
    ("ArcMargin", {"margin": 1.5, "scale": 80.0}),  # some angles pass 180 degrees
    ("ArcMargin", {"margin": 0.5, "scale": 10.0, "easy_margin": True}),
    ("CosMargin", {"margin": 0.35, "scale": 64.0}),
    ("CircleMargin", {"margin": 0.25, "scale": 32.0}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_margin_is_put_before_the_right_class_in_training(name, options):
    layer = head(name, **options)
    found = layer(paddle.to_tensor(FEATURES), paddle.to_tensor(LABELS)).numpy()
    expected = [
        [formula(name, cosine, index == label, options) for index, cosine in enumerate(row)]
        for row, label in zip(cosines(layer), LABELS, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_without_labels_and_in_evaluation_there_are_cosines(name, options):
    layer = head(name, **options)
    features, labels = paddle.to_tensor(FEATURES), paddle.to_tensor(LABELS)
    np.testing.assert_allclose(layer(features).numpy(), cosines(layer), atol=1e-6)
    layer.eval()
    np.testing.assert_allclose(layer(features, labels).numpy(), cosines(layer), atol=1e-6)


def test_the_circle_weighs_by_constants():
    """The factors in max are no part of the gradient: d/ds of scale * a * (s - m) is scale * a."""
    layer = head("CircleMargin", margin=0.25, scale=32.0)
    cosine = paddle.to_tensor([[0.3, -0.5]], stop_gradient=False)
    layer.with_margin(cosine, paddle.to_tensor([[1.0, 0.0]])).sum().backward()
    np.testing.assert_allclose(cosine.grad.numpy(), [[32 * (1.25 - 0.3), 0.0]], rtol=1e-5)


def test_adaface_moves_the_margin_with_the_length_of_the_feature():
    layer = head("AdaMargin", m=0.4, h=0.333, s=64.0, t_alpha=0.01)
    features = FEATURES * np.array([1, 2, 3, 4, 5, 60])[:, None].astype("float32")
    found = layer(paddle.to_tensor(features), paddle.to_tensor(LABELS)).numpy()

    lengths = np.linalg.norm(features.astype("float64"), axis=1).clip(0.001, 100)
    mean = 0.01 * lengths.mean() + 0.99 * 20
    deviation = 0.01 * lengths.std(ddof=1) + 0.99 * 100
    expected = 64.0 * cosines(layer, features)
    for row, (label, length) in enumerate(zip(LABELS, lengths, strict=True)):
        quality = np.clip(0.333 * (length - mean) / (deviation + 1e-3), -1, 1)
        angle = np.clip(math.acos(expected[row, label] / 64.0) - 0.4 * quality, 1e-3, math.pi - 1e-3)
        expected[row, label] = 64.0 * (math.cos(angle) - (0.4 + 0.4 * quality))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)
    assert layer.batch_mean.item() == pytest.approx(mean, rel=1e-5)
    assert layer.batch_std.item() == pytest.approx(deviation, rel=1e-5)


def test_adaface_gives_the_feature_itself_in_evaluation_and_learns_nothing_of_it():
    layer = head("AdaMargin")
    layer.eval()
    assert layer(paddle.to_tensor(FEATURES), paddle.to_tensor(LABELS)).numpy().tolist() == FEATURES.tolist()
    assert layer.batch_mean.item() == 20


def test_the_identity_is_the_first_of_several_labels():
    layer = head("ArcMargin")
    both = np.stack([LABELS, np.zeros(N, int)], axis=1)
    features = paddle.to_tensor(FEATURES)
    assert (layer(features, paddle.to_tensor(both)) == layer(features, paddle.to_tensor(LABELS))).all()


def test_mixed_labels_are_refused():
    with pytest.raises(UserError, match="one class for each image"):
        head("ArcMargin")(paddle.to_tensor(FEATURES), paddle.ones([N, C]))

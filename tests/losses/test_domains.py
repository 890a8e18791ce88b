"""Losses of images of several cameras against their formulas, written out per image."""

import math

import numpy as np
import paddle
import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.losses import LOSSES, build_loss

N, CLASSES = 8, 5
RNG = np.random.default_rng(0)
X, LOGITS = RNG.standard_normal((N, 6)), RNG.standard_normal((N, CLASSES))
IDENTITY = np.array([0, 0, 1, 1, 2, 2, 0, 1])
CAMERA = np.array([3, 3, 3, 7, 7, 7, 7, 9])
UNIT = X / np.linalg.norm(X, axis=1, keepdims=True)


LABELS = np.stack([IDENTITY, CAMERA], axis=1)


def loss(name, labels=LABELS, **options):
    output = {"features": paddle.to_tensor(X.astype("float32")), "logits": paddle.to_tensor(LOGITS.astype("float32"))}
    return build_loss([LOSSES.get(name)(**options)])(output, paddle.to_tensor(labels)).total


def euclidean(x):
    return np.linalg.norm(x[:, None] - x[None], axis=2)


def test_what_the_right_class_loses_is_epsilon():
    target = np.full((N, CLASSES), 0.1 / (CLASSES - 1))
    target[np.arange(N), IDENTITY] = 0.9
    expected = -(target * (LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True)))).sum(1).mean()
    assert float(loss("CELossForMetaBIN", epsilon=0.1)) == pytest.approx(expected, rel=1e-5)
    assert float(loss("CELossForMetaBIN")) == pytest.approx(float(loss("CELoss")), rel=1e-6)
    alone = build_loss([LOSSES.get("CELossForMetaBIN")(epsilon=0.1)])
    assert float(alone({"logits": paddle.zeros([N, 1])}, paddle.zeros([N], "int64")).total) == 0


def test_triplets_are_of_features_as_they_are():
    distance, same = euclidean(X), IDENTITY[:, None] == IDENTITY
    positive, negative = np.where(same, distance, 0).max(1), np.where(same, np.inf, distance).min(1)
    expected = np.maximum(0, 0.3 + positive - negative).mean()
    assert float(loss("TripletLossForMetaBIN", margin=0.3)) == pytest.approx(expected, rel=1e-4)
    assert LOSSES.get("TripletLossForMetaBIN")().margin == 1


@pytest.mark.parametrize("normalize", [True, False])
def test_scatter_is_the_cosine_with_the_mean_of_the_camera(normalize):
    features, found = UNIT if normalize else X, []
    for camera in (3, 7, 9):
        of_camera = features[camera == CAMERA]
        centre = of_camera.mean(0)
        found.append(np.mean([x @ centre / np.linalg.norm(x) / np.linalg.norm(centre) for x in of_camera]))
    assert float(loss("IntraDomainScatterLoss", normalize_feature=normalize)) == pytest.approx(np.mean(found), rel=1e-4)


@pytest.mark.parametrize("normalize", [True, False])
def test_shuffling_compares_other_cameras_with_other_identities_of_the_same_one(normalize):
    distance, found = euclidean(UNIT if normalize else X), []
    for i in range(N):
        positive = max(distance[i, j] for j in range(N) if CAMERA[j] != CAMERA[i])
        others = [distance[i, j] for j in range(N) if CAMERA[j] == CAMERA[i] and IDENTITY[j] != IDENTITY[i]]
        found.append(math.log1p(math.exp(positive - min(others))) if others else 0.0)
    value = float(loss("InterDomainShuffleLoss", normalize_feature=normalize))
    assert value == pytest.approx(np.mean(found), rel=1e-4)


def test_features_that_are_far_apart_have_a_finite_loss_and_gradient():
    features = paddle.to_tensor((1000 * X).astype("float32"), stop_gradient=False)
    entries = [LOSSES.get("InterDomainShuffleLoss")(normalize_feature=False), LOSSES.get("IntraDomainScatterLoss")()]
    total = build_loss(entries)({"features": features}, paddle.to_tensor(LABELS)).total
    total.backward()
    assert np.isfinite(float(total))
    assert np.isfinite(features.grad.numpy()).all()
    assert features.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["IntraDomainScatterLoss", "InterDomainShuffleLoss"])
def test_labels_without_cameras_are_refused(name):
    with pytest.raises(UserError, match="needs the camera of each image.*Market1501"):
        loss(name, labels=IDENTITY)

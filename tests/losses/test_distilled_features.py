"""Losses of features between networks beside their formulas, written out in NumPy."""

import itertools

import numpy as np
import paddle
import pytest
from pydantic import ValidationError

from ppcls_compress.errors import UserError
from ppcls_compress.losses import build_loss
from ppcls_compress.losses.distilled_features import (
    DistillationDistanceLoss,
    DistillationPairLoss,
    DistillationRKDLoss,
)

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.standard_normal((4, 6, 3, 3)), RNG.standard_normal((4, 8, 3, 3))
PAIR = {"model_name_pairs": [["Student", "Teacher"]]}


def terms(loss, student=STUDENT, teacher=TEACHER, key="map"):
    output = {name: {key: paddle.to_tensor(x.astype("float32"))} for name, x in
              (("Student", student), ("Teacher", teacher))}  # fmt: skip
    return {name: float(value) for name, value in loss(output, None, None).items()}


def huber(difference):
    size = np.abs(difference)
    return np.where(size < 1, size**2 / 2, size - 0.5).mean()


@pytest.mark.parametrize(
    ("mode", "distance"),
    [("l1", lambda d: np.abs(d).mean()), ("l2", lambda d: (d**2).mean()), ("smooth_l1", huber)],
)
def test_distances(mode, distance):
    first, second = RNG.standard_normal((2, 4, 5)) * 2
    loss = DistillationDistanceLoss(**PAIR, mode=mode, key="map").build()
    found = terms(loss, first, second)
    assert found == {f"loss_{mode}_Student_Teacher_0": pytest.approx(distance(first - second), rel=1e-5)}
    p, q = (1 / (1 + np.exp(-x)) for x in (first, second))
    loss = DistillationDistanceLoss(**PAIR, mode=mode, key="map", act="sigmoid").build()
    assert next(iter(terms(loss, first, second).values())) == pytest.approx(distance(p - q), rel=1e-4)


@pytest.mark.parametrize("size", [None, 1])
def test_relations_among_samples(size):
    first, second = ((x.mean((2, 3)) if size else x).reshape(4, -1) for x in (STUDENT, TEACHER))

    def distances(rows):
        apart = np.array([[np.linalg.norm(a - b) for b in rows] for a in rows])
        return apart / np.maximum(apart, 1e-6).mean()

    def angles(rows):
        found = np.zeros((4, 4, 4))
        for i, j, k in itertools.product(range(4), repeat=3):
            a, b = rows[j] - rows[i], rows[k] - rows[i]
            norms = np.linalg.norm(a) * np.linalg.norm(b)
            found[i, j, k] = a @ b / norms if norms else 0
        return found

    loss = DistillationRKDLoss(**PAIR, target_size=size, student_keepkeys=["map"], teacher_keepkeys=["map"]).build()
    found = terms(loss)
    assert found["loss_dist_0_Student_Teacher"] == pytest.approx(huber(distances(first) - distances(second)), rel=1e-3)
    assert found["loss_angle_0_Student_Teacher"] == pytest.approx(huber(angles(first) - angles(second)), rel=1e-3)
    with pytest.raises(ValidationError, match="must be as many"):
        DistillationRKDLoss(student_keepkeys=["a", "b"], teacher_keepkeys=["a"])


def pair_loss(**options):
    keys = {"s_key": "map", "t_key": "map", "name": "loss_x"}
    return DistillationPairLoss(**PAIR, **keys, **options)


def test_an_ensemble_of_projectors():
    options = {"base_loss_name": "PEFDLoss", "student_channel": 6, "teacher_channel": 8, "num_projectors": 2}
    loss = pair_loss(**options).build()
    projected = 0
    for conv in loss.loss.projectors:
        weight, bias = conv.weight.numpy()[:, :, 0, 0], conv.bias.numpy()
        projected += np.maximum(np.einsum("oc,nchw->nohw", weight, STUDENT) + bias[:, None, None], 0) / 2
    a, b = projected.reshape(4, -1), TEACHER.reshape(4, -1)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert terms(loss) == {"loss_x_Student_Teacher_0": pytest.approx((1 - cosine).mean(), rel=1e-4)}
    with pytest.raises(UserError, match=r"loss_x_Student_Teacher_0: .*\[4, 6, 3, 3\] and \[4, 8, 2, 2\]"):
        terms(loss, teacher=TEACHER[:, :, :2, :2])


def test_masked_generation():
    loss = pair_loss(base_loss_name="MGDLoss", student_channels=6, teacher_channels=8, lambda_mgd=0.5).build()
    layer = loss.loss
    with paddle.no_grad():
        paddle.seed(3)
        found = terms(loss)["loss_x_Student_Teacher_0"]
        paddle.seed(3)
        kept = (paddle.rand([4, 8, 1, 1]) >= 0.5).astype("float32")
        made = layer.generation(layer.align(paddle.to_tensor(STUDENT.astype("float32"))) * kept).numpy()
    assert 0 < float(kept.mean()) < 1
    assert found == pytest.approx(1.756 * ((made - TEACHER) ** 2).mean(), rel=1e-5)
    same = pair_loss(base_loss_name="MGDLoss", student_channels=8, teacher_channels=8).build()
    assert same.loss.align is None


def test_its_weights_are_learned_with_the_others():
    entry = pair_loss(base_loss_name="PEFDLoss", student_channel=6, teacher_channel=8)
    assert len(build_loss([entry]).parameters()) == 6


def test_options_of_the_base_loss_are_checked_by_name():
    with pytest.raises(ValidationError, match=r"unknown loss between features 'PEFD'; did you mean 'PEFDLoss'\?"):
        pair_loss(base_loss_name="PEFD")
    with pytest.raises(ValidationError, match="unknown key 'student_chanel'; did you mean 'student_channel'"):
        pair_loss(base_loss_name="PEFDLoss", student_chanel=6, teacher_channel=8)

import numpy as np
import paddle
import pytest

from ppcls_compress.losses import build_loss
from ppcls_compress.losses.cross_entropy import CELoss, cross_entropy
from ppcls_compress.losses.distillation import distillation, label_distillation, with_teacher
from ppcls_compress.losses.multilabel import MultiLabelLoss


def softmax(values):
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.fixture
def logits():
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, 6, 5)).astype("float32") * 3


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_equals_the_formula(logits, temperature):
    student, teacher = (softmax(values / temperature) for values in logits)
    expected = temperature**2 * (teacher * np.log(teacher / student)).sum(1).mean()
    found = distillation(*map(paddle.to_tensor, logits), temperature)
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_vanishes_for_the_teacher_itself(logits):
    scores = paddle.to_tensor(logits[0])
    assert float(distillation(scores, scores, 2.0)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_is_mixed_with_the_ordinary_loss_and_leaves_the_teacher_alone(logits, weight):
    scores, images, labels = (
        paddle.to_tensor(logits[0]),
        paddle.to_tensor(logits[1]),
        paddle.to_tensor([0, 1, 2, 3, 4, 0]),
    )
    scores.stop_gradient = False
    teacher = paddle.nn.Linear(5, 5)
    total = with_teacher(build_loss([CELoss()]), teacher, weight=weight, temperature=2.0)(scores, labels, images).total
    expected = (1 - weight) * cross_entropy(scores, labels) + weight * distillation(scores, teacher(images), 2.0)
    assert float(total) == pytest.approx(float(expected), rel=1e-6)
    total.backward()
    assert scores.grad is not None
    assert teacher.weight.grad is None


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_of_several_labels_each_is_learned_by_itself(logits, temperature):
    student, teacher = (1 / (1 + np.exp(-values.astype(float) / temperature)) for values in logits)
    divergence = teacher * np.log(teacher / student) + (1 - teacher) * np.log((1 - teacher) / (1 - student))
    expected = temperature**2 * divergence.sum(1).mean()
    scores, teacher_scores = map(paddle.to_tensor, logits)
    found = label_distillation(scores, teacher_scores, temperature)
    assert float(found) == pytest.approx(expected, rel=1e-4)
    assert float(label_distillation(1e3 * scores, 1e3 * scores, 1.0)) == pytest.approx(0.0, abs=1e-5)
    mixed = with_teacher(
        build_loss([MultiLabelLoss()]), lambda images: images, weight=1.0, temperature=temperature, multilabel=True
    )
    assert float(mixed(scores, paddle.zeros([6, 5]), teacher_scores).total) == pytest.approx(float(found), rel=1e-6)

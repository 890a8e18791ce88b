import numpy as np
import paddle
import pytest

from ppcls_compress.losses import build_loss
from ppcls_compress.losses.cross_entropy import CELoss, GoogLeNetLoss, MixCELoss, SoftTargetCrossEntropy, cross_entropy


def reference(logits, targets):
    shifted = logits - logits.max(1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -(targets * log_probability).sum(1).mean()


@pytest.fixture
def logits():
    return np.random.RandomState(0).randn(5, 4).astype("float32")


@pytest.mark.parametrize("epsilon", [None, 0.1])
def test_indices_and_one_hot_rows_agree_with_the_formula(logits, epsilon):
    labels = np.array([0, 3, 1, 1, 2])
    one_hot = np.eye(4, dtype="float32")[labels]
    smooth = one_hot * (1 - (epsilon or 0)) + (epsilon or 0) / 4
    for given in (paddle.to_tensor(labels), paddle.to_tensor(one_hot)):
        found = float(cross_entropy(paddle.to_tensor(logits), given, epsilon=epsilon))
        assert found == pytest.approx(reference(logits, smooth), rel=1e-5)


def test_mixed_labels_equal_the_mixed_losses(logits):
    first, second = np.array([0, 1, 2, 3, 0]), np.array([1, 1, 3, 0, 2])
    mixed = 0.3 * np.eye(4)[first] + 0.7 * np.eye(4)[second]
    scores = paddle.to_tensor(logits)
    parts = [float(cross_entropy(scores, paddle.to_tensor(labels), epsilon=0.1)) for labels in (first, second)]
    found = float(cross_entropy(scores, paddle.to_tensor(mixed.astype("float32")), epsilon=0.1))
    assert found == pytest.approx(0.3 * parts[0] + 0.7 * parts[1], rel=1e-5)


def test_listed_losses_are_weighted_and_added(logits):
    entries = [
        CELoss(weight=2.0),
        MixCELoss(weight=0.5, epsilon=0.1),
    ]
    scores, labels = paddle.to_tensor(logits), paddle.to_tensor([0, 1, 2, 3, 0])
    expected = 2.0 * cross_entropy(scores, labels) + 0.5 * cross_entropy(scores, labels, epsilon=0.1)
    assert float(build_loss(entries)(scores, labels).total) == pytest.approx(float(expected))


def test_numbers_of_a_batch_can_be_added_up(logits):
    labels = paddle.to_tensor([0, 3, 1, 1, 2])
    scores = paddle.to_tensor(logits)
    for epsilon in (None, 0.1):
        mean = float(cross_entropy(scores, labels, epsilon=epsilon))
        found = float(CELoss(epsilon=epsilon, reduction="sum").build()(scores, labels, None))
        assert found == pytest.approx(5 * mean, rel=1e-5)


def test_soft_targets_are_taken_as_they_are(logits):
    target = np.random.RandomState(1).dirichlet(np.ones(4), 5).astype("float32")
    found = float(SoftTargetCrossEntropy().build()(paddle.to_tensor(logits), paddle.to_tensor(target), None))
    assert found == pytest.approx(reference(logits, target), rel=1e-5)


def test_auxiliary_classifiers_count_less(logits):
    labels = np.array([0, 3, 1, 1, 2])
    outputs = [logits, logits[::-1].copy(), 2 * logits]
    parts = [reference(each, np.eye(4)[labels]) for each in outputs]
    loss = GoogLeNetLoss().build()
    found = float(loss([paddle.to_tensor(each) for each in outputs], paddle.to_tensor(labels), None))
    assert found == pytest.approx(parts[0] + 0.3 * (parts[1] + parts[2]), rel=1e-5)
    alone = float(loss(paddle.to_tensor(logits), paddle.to_tensor(labels), None))
    assert alone == pytest.approx(parts[0], rel=1e-5)

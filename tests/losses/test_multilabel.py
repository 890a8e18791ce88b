"""Multi-label losses beside their formulas, written out in NumPy."""

import numpy as np
import paddle
import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.losses.multilabel import MultiLabelAsymmetricLoss, MultiLabelLoss

RNG = np.random.default_rng(0)
LOGITS = 2 * RNG.standard_normal((6, 5))
LABELS = (RNG.random((6, 5)) < 0.4).astype(float)
SHARES = RNG.random(5)


def value(loss, logits=LOGITS, labels=LABELS):
    tensors = (paddle.to_tensor(array.astype("float32")) for array in (logits, labels))
    return float(loss.build()(*tensors, None))


def binary(logits, target):
    probability = 1 / (1 + np.exp(-logits))
    return -(target * np.log(probability) + (1 - target) * np.log(1 - probability))


def with_shares(labels):
    return np.stack([labels, np.broadcast_to(SHARES, labels.shape)], axis=1)


@pytest.mark.parametrize("size_sum", [False, True])
@pytest.mark.parametrize("epsilon", [None, 0.2])
def test_binary_cross_entropy_of_each_label(size_sum, epsilon):
    target = LABELS if epsilon is None else LABELS * 0.8 + 0.2 / 5
    cost = binary(LOGITS, target)
    expected = cost.sum(1).mean() if size_sum else cost.mean()
    loss = MultiLabelLoss(size_sum=size_sum, epsilon=epsilon)
    assert value(loss) == pytest.approx(expected, rel=1e-5)
    assert value(loss, labels=with_shares(LABELS)) == pytest.approx(expected, rel=1e-5)


def test_rare_labels_weigh_more():
    weight = np.exp(np.where(LABELS == 1, 1 - SHARES, SHARES))
    expected = (binary(LOGITS, LABELS) * weight).sum(1).mean()
    loss = MultiLabelLoss(weight_ratio=True, size_sum=True)
    assert value(loss, labels=with_shares(LABELS)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(UserError, match="label_ratio: True"):
        value(loss)


@pytest.mark.parametrize(("gamma_pos", "gamma_neg"), [(1, 4), (0.5, 2.75), (9, 0)])
def test_what_is_not_known_of_an_image_costs_nothing_asymmetrically(gamma_pos, gamma_neg):
    loss = MultiLabelAsymmetricLoss(gamma_pos=gamma_pos, gamma_neg=gamma_neg, disable_focal_loss_grad=False)
    logits = paddle.to_tensor(LOGITS.astype("float32"), stop_gradient=False)
    labels = LABELS.copy()
    labels[:, 2:] = -1
    found = loss.build()(logits, paddle.to_tensor(labels.astype("float32")), None)
    assert float(found) == pytest.approx(value(loss, LOGITS[:, :2], LABELS[:, :2]), rel=1e-5)
    found.backward()
    assert not logits.grad[:, 2:].any()


@pytest.mark.parametrize("clip", [None, 0.05, 0.3])
@pytest.mark.parametrize(("gamma_pos", "gamma_neg"), [(0, 4), (1, 4), (2, 0)])
def test_asymmetric_loss(gamma_pos, gamma_neg, clip):
    probability = 1 / (1 + np.exp(-LOGITS))
    shifted = np.maximum(probability - (clip or 0), 0)
    there = (1 - probability) ** gamma_pos * np.log(probability)
    absent = shifted**gamma_neg * np.log(1 - shifted)
    expected = -(LABELS * there + (1 - LABELS) * absent).sum()
    options = {"gamma_pos": gamma_pos, "gamma_neg": gamma_neg, "clip": clip}
    assert value(MultiLabelAsymmetricLoss(**options)) == pytest.approx(expected, rel=1e-4)
    mean = value(MultiLabelAsymmetricLoss(**options, reduction="mean"))
    assert mean == pytest.approx(expected / LABELS.size, rel=1e-4)


@pytest.mark.parametrize("constant", [True, False])
def test_the_focusing_weight_may_be_a_constant(constant):
    """One label that is there: the loss is -(1 - p)^2 log p."""
    logit = paddle.to_tensor([[0.4]], stop_gradient=False)
    loss = MultiLabelAsymmetricLoss(gamma_pos=2, disable_focal_loss_grad=constant)
    loss.build()(logit, paddle.ones([1, 1]), None).backward()
    p = 1 / (1 + np.exp(-0.4))
    through_log = -((1 - p) ** 2) / p
    through_weight = 0 if constant else 2 * (1 - p) * np.log(p)
    assert logit.grad.item() == pytest.approx((through_log + through_weight) * p * (1 - p), rel=1e-5)


@pytest.mark.parametrize("loss", [MultiLabelLoss(), MultiLabelLoss(epsilon=0.1), MultiLabelAsymmetricLoss()])
def test_unknown_labels_cost_nothing(loss):
    unknown = LABELS.copy()
    unknown[:, 1] = -1
    other = LOGITS.copy()
    other[:, 1] = 7.0
    assert value(loss, LOGITS, unknown) == value(loss, other, unknown)
    assert value(loss, LOGITS, unknown) < value(loss)


def test_one_class_for_each_image_is_refused():
    with pytest.raises(UserError, match="MultiLabelDataset"):
        MultiLabelLoss().build()(paddle.zeros([2, 3]), paddle.to_tensor([0, 1]), None)


def test_named_logits_are_taken():
    output = {"features": paddle.ones([6, 2]), "logits": paddle.to_tensor(LOGITS.astype("float32"))}
    found = float(MultiLabelLoss().build()(output, paddle.to_tensor(LABELS.astype("float32")), None))
    assert found == pytest.approx(value(MultiLabelLoss()), rel=1e-6)

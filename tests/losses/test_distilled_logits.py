"""Losses of logits between networks beside their formulas, written out in NumPy."""

import numpy as np
import paddle
import pytest
from pydantic import ValidationError

from ppcls_compress.errors import UserError
from ppcls_compress.losses.distilled_logits import (
    DistillationCELoss,
    DistillationDISTLoss,
    DistillationDKDLoss,
    DistillationDMLLoss,
    DistillationGTCELoss,
    DistillationKLDivLoss,
    DistillationMultiLabelLoss,
    DistillationSKDLoss,
    DistillationWSLLoss,
)
from ppcls_compress.losses.multilabel import MultiLabelLoss

RNG = np.random.default_rng(0)
STUDENT, TEACHER = (2 * RNG.standard_normal((6, 5)) for _ in range(2))
LABELS = RNG.integers(0, 5, 6)
ROWS = np.arange(6)
PAIR = {"model_name_pairs": [["Student", "Teacher"]]}


def terms(loss, output=None, labels=LABELS):
    if output is None:
        output = {"Student": STUDENT, "Teacher": TEACHER}
    tensors = {name: paddle.to_tensor(logits.astype("float32")) for name, logits in output.items()}
    labels = paddle.to_tensor(labels if labels.dtype == np.int64 else labels.astype("float32"))
    return {name: float(value) for name, value in loss.build()(tensors, labels, None).items()}


def value(loss, **arguments):
    (found,) = terms(loss, **arguments).values()
    return found


def softmax(logits):
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)


def kl(p, q):
    return (p * np.log(p / q)).sum(1)


def cross_entropies(logits, labels=LABELS):
    return -np.log(softmax(logits))[ROWS, labels]


@pytest.mark.parametrize("epsilon", [None, 0.1])
def test_cross_entropy_with_the_labels_of_each_network(epsilon):
    found = terms(DistillationGTCELoss(model_names=["Student", "Teacher"], epsilon=epsilon))
    target = np.eye(5)[LABELS] * (1 - (epsilon or 0)) + (epsilon or 0) / 5
    for name, logits in (("Student", STUDENT), ("Teacher", TEACHER)):
        assert found[f"CELoss_{name}"] == pytest.approx(-(target * np.log(softmax(logits))).sum(1).mean(), rel=1e-5)


def test_cross_entropy_with_the_probabilities_of_the_other():
    expected = -(softmax(TEACHER) * np.log(softmax(STUDENT))).sum(1).mean()
    assert terms(DistillationCELoss(**PAIR)) == {"CELoss_Student_Teacher": pytest.approx(expected, rel=1e-5)}


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_divergence_at_a_temperature(temperature):
    p, q = softmax(TEACHER / temperature), softmax(STUDENT / temperature)
    loss = DistillationKLDivLoss(**PAIR, temperature=temperature)
    assert value(loss) == pytest.approx(kl(p, q).mean() * temperature**2, rel=1e-5)


def test_mutual_learning():
    p, q = softmax(STUDENT), softmax(TEACHER)
    expected = (kl(p, q) + kl(q, p)).mean() / 2
    assert terms(DistillationDMLLoss(**PAIR)) == {"DMLLoss_Student_Teacher_0": pytest.approx(expected, rel=1e-5)}
    both = terms(DistillationDMLLoss(model_name_pairs=[["Student", "Teacher"], ["Teacher", "Student"]]))
    assert list(both) == ["DMLLoss_Student_Teacher_0", "DMLLoss_Teacher_Student_1"]
    probabilities = {"Student": p, "Teacher": q}
    assert value(DistillationDMLLoss(**PAIR, act=None), output=probabilities) == pytest.approx(expected, rel=1e-4)
    added = value(DistillationDMLLoss(**PAIR, sum_across_class_dim=True))
    assert added == pytest.approx(5 * expected, rel=1e-5)


def test_mutual_learning_of_several_labels_weighs_rare_ones_and_leaves_out_unknown_ones():
    labels = (RNG.random((6, 5)) < 0.4).astype(float)
    labels[0, 0] = -1
    shares = np.broadcast_to(RNG.random(5), (6, 5))
    p, q = (1 / (1 + np.exp(-logits)) for logits in (STUDENT, TEACHER))
    cost = 5 * (p * np.log(p / q) + q * np.log(q / p)) / 2
    weight = np.exp(np.where(labels == 1, 1 - shares, shares)) * (labels > -1)
    loss = DistillationDMLLoss(**PAIR, act="sigmoid", weight_ratio=True)
    found = value(loss, labels=np.stack([labels, shares], 1))
    assert found == pytest.approx((cost * weight).mean(), rel=1e-5)


def test_several_labels_of_each_network():
    labels = (RNG.random((6, 5)) < 0.4).astype(float)
    options = {"size_sum": True, "epsilon": 0.1}
    own = MultiLabelLoss(**options).build()
    expected = float(own(*(paddle.to_tensor(each.astype("float32")) for each in (STUDENT, labels)), None))
    found = terms(DistillationMultiLabelLoss(model_names=["Student"], **options), labels=labels)
    assert found == {"MultiLabelLoss_Student": pytest.approx(expected)}


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("temperature", "alpha", "beta"), [(1.0, 1.0, 1.0), (4.0, 1.0, 8.0), (2.0, 0.0, 1.0)])
def test_decoupled(temperature, alpha, beta, own):
    labels = TEACHER.argmax(1) if own else LABELS
    others = np.array([np.delete(np.arange(5), label) for label in labels])
    p, q = (softmax(logits / temperature) for logits in (TEACHER, STUDENT))
    two = [np.stack([x[ROWS, labels], 1 - x[ROWS, labels]], 1) for x in (p, q)]
    rest = [softmax(np.take_along_axis(logits, others, 1) / temperature) for logits in (TEACHER, STUDENT)]
    expected = (alpha * kl(*two) + beta * kl(*rest)).mean() * temperature**2
    loss = DistillationDKDLoss(**PAIR, temperature=temperature, alpha=alpha, beta=beta, use_target_as_gt=own)
    assert terms(loss) == {"loss_dkd_Student_Teacher": pytest.approx(expected, rel=1e-4)}


@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 1.0), (2.0, 0.5)])
def test_correlation_over_classes_and_over_samples(beta, gamma):
    p, q = softmax(STUDENT), softmax(TEACHER)
    classes = 1 - np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    samples = 1 - np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
    loss = DistillationDISTLoss(**PAIR, beta=beta, gamma=gamma)
    assert value(loss) == pytest.approx(beta * classes + gamma * samples, rel=1e-4)


@pytest.mark.parametrize("own", [False, True])
def test_spherical(own):
    labels = TEACHER.argmax(1) if own else LABELS
    s, t = (3 * (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True) for x in (STUDENT, TEACHER))
    learned = -(softmax(t / 2) * np.log(softmax(s / 2))).sum(1).mean() * 4
    expected = 0.7 * learned + 0.3 * cross_entropies(s, labels).mean()
    loss = DistillationSKDLoss(**PAIR, temperature=2, multiplier=3, alpha=0.7, use_target_as_gt=own)
    assert value(loss) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("own", [False, True])
def test_weighted_soft_labels(own):
    labels = TEACHER.argmax(1) if own else LABELS
    weight = 1 - np.exp(-cross_entropies(STUDENT, labels) / cross_entropies(TEACHER, labels))
    learned = -(softmax(TEACHER / 2) * np.log(softmax(STUDENT / 2))).sum(1)
    loss = DistillationWSLLoss(**PAIR, use_target_as_gt=own)
    assert value(loss) == pytest.approx((weight * learned).mean() * 4, rel=1e-4)


def test_a_named_tensor_is_compared_and_a_name_given():
    output = {name: {"logits": None, "features": logits} for name, logits in (("A", STUDENT), ("B", TEACHER))}
    tensors = {
        name: {"features": paddle.to_tensor(parts["features"].astype("float32"))} for name, parts in output.items()
    }
    loss = DistillationDMLLoss(model_name_pairs=[["A", "B"]], key="features", name="loss_features")
    (name,) = loss.build()(tensors, None, None)
    assert name == "loss_features_A_B_0"
    with pytest.raises(UserError, match="no output 'neck'; it gives features"):
        DistillationDMLLoss(model_name_pairs=[["A", "B"]], key="neck").build()(tensors, None, None)


def test_the_network_that_is_deployed_is_judged_alone():
    loss = DistillationGTCELoss(model_names=["Student"]).build()
    logits, labels = paddle.to_tensor(STUDENT.astype("float32")), paddle.to_tensor(LABELS)
    (found,) = loss(logits, labels, None).values()
    assert float(found) == pytest.approx(cross_entropies(STUDENT).mean(), rel=1e-5)


def test_the_gradient_goes_to_both_networks_of_a_pair():
    tensors = {name: paddle.to_tensor(x.astype("float32"), stop_gradient=False) for name, x in
               (("Student", STUDENT), ("Teacher", TEACHER))}  # fmt: skip
    (loss,) = DistillationDMLLoss(**PAIR).build()(tensors, None, None).values()
    loss.backward()
    assert all(float(tensor.grad.abs().sum()) > 0 for tensor in tensors.values())


def test_extreme_logits_cost_a_finite_amount():
    sure = {"Student": np.eye(5)[LABELS] * 200, "Teacher": -np.eye(5)[LABELS] * 200}
    for kind in (DistillationDMLLoss, DistillationDKDLoss, DistillationWSLLoss, DistillationDISTLoss):
        assert np.isfinite(value(kind(**PAIR), output=sure))


def test_networks_must_be_named():
    assert DistillationDKDLoss(**PAIR).networks == ("Student", "Teacher")
    with pytest.raises(ValidationError):
        DistillationGTCELoss(model_names=[])
    with pytest.raises(ValidationError):
        DistillationCELoss(model_name_pairs=[["Student"]])

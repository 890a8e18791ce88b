"""Measures of attributes beside scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from ppcls_compress.metrics import Metrics
from ppcls_compress.metrics.attributes import ATTRMetric


def case(samples=60, attributes=7, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((samples, attributes)) < rng.random(attributes)).astype(np.float32)
    labels[:, 0] = 0  # an attribute that nobody has
    logits = (2 * labels - 1 + 2 * rng.standard_normal(labels.shape)).astype(np.float32)
    labels[0], logits[0] = 0, -1  # a sample without any, and none said of it
    return logits, labels


def reference(labels, said):
    options = {"zero_division": 0}
    precision = precision_score(labels, said, average="samples", **options)
    recall = recall_score(labels, said, average="samples", **options)
    positive = recall_score(labels, said, average="macro", **options)
    negative = recall_score(1 - labels, 1 - said, average="macro", **options)
    return {
        "ma": (positive + negative) / 2,
        "label_f1": f1_score(labels, said, average="macro", **options),
        "label_pos_recall": positive,
        "label_neg_recall": negative,
        "instance_f1": 2 * precision * recall / (precision + recall),
        "instance_acc": jaccard_score(labels, said, average="samples", **options),
        "instance_prec": precision,
        "instance_recall": recall,
    }


def measure(metric, *batches):
    metrics = Metrics([metric])
    return metrics.measure([metrics.keep(logits, labels) for logits, labels in batches])


@pytest.mark.parametrize("threshold", [0.5, 0.0, -0.75])
def test_all_eight_are_those_of_scikit_learn(threshold):
    logits, labels = case()
    expected = reference(labels.astype(int), (logits > threshold).astype(int))
    found = measure(ATTRMetric(threshold=threshold), (logits, labels))
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, rel=1e-12)


def test_the_whole_set_is_measured_and_not_the_mean_of_its_batches():
    logits, labels = case()
    parts = [(logits[chosen], labels[chosen]) for chosen in (slice(7), slice(7, 50), slice(50, None))]
    whole = measure(ATTRMetric(), (logits, labels))
    assert measure(ATTRMetric(), *parts) == whole
    assert measure(ATTRMetric(), *parts[::-1]) == pytest.approx(whole, rel=1e-12)
    means = np.mean([measure(ATTRMetric(), part)["ma"] for part in parts])
    assert abs(means - whole["ma"]) > 1e-3


def test_unknown_labels_do_not_count():
    """An attribute unknown of half the samples is measured on the other half."""
    logits, labels = case(samples=80, attributes=1, seed=3)
    labels[:, 0] = np.arange(80) % 2
    half = np.where(np.arange(80)[:, None] < 40, labels, -1)
    first = measure(ATTRMetric(), (logits[:40], labels[:40]))
    for name in ("ma", "label_f1", "label_pos_recall", "label_neg_recall"):
        assert measure(ATTRMetric(), (logits, half))[name] == first[name]


def test_shares_that_come_with_the_labels_are_left_aside():
    logits, labels = case()
    with_shares = np.stack([labels, np.broadcast_to(labels.mean(0), labels.shape)], axis=1)
    assert measure(ATTRMetric(), (logits, with_shares)) == measure(ATTRMetric(), (logits, labels))


def test_mean_accuracy_chooses_the_best_checkpoint():
    assert ATTRMetric().main == "ma"
    assert ATTRMetric.higher_is_better

"""Multi-label measures beside scikit-learn's, or beside their formula written out."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, hamming_loss

from ppcls_compress.metrics import Metrics
from ppcls_compress.metrics.multilabel import AccuracyScore, HammingDistance, MultiLabelMAP, MultilabelMeanAccuracy


def case(samples=50, classes=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((samples, classes)) < 0.3).astype(np.float32)
    return (2 * labels - 1 + 1.5 * rng.standard_normal(labels.shape)).astype(np.float32), labels


def measure(metric, *batches):
    metrics = Metrics([metric])
    return metrics.measure([metrics.keep(logits, labels) for logits, labels in batches])


@pytest.mark.parametrize(
    ("metric", "reference"),
    [
        (HammingDistance(), hamming_loss),
        (AccuracyScore(base="sample"), accuracy_score),
        (AccuracyScore(), lambda labels, said: (labels == said).mean()),
    ],
)
def test_hard_measures_are_those_of_scikit_learn(metric, reference):
    logits, labels = case()
    found = measure(metric, (logits[:20], labels[:20]), (logits[20:], labels[20:]))
    assert found == {metric.main: pytest.approx(reference(labels, (logits > 0).astype(float)), rel=1e-12)}


def test_a_smaller_hamming_distance_is_better():
    assert not HammingDistance().higher_is_better


def test_mean_average_precision_is_that_of_scikit_learn():
    logits, labels = case()
    logits = logits.round(1)  # equal scores
    expected = average_precision_score(labels, logits, average="macro")
    found = measure(MultiLabelMAP(), (logits[:20], labels[:20]), (logits[20:], labels[20:]))
    assert found == {"MultiLabelMAP": pytest.approx(expected, rel=1e-6)}
    assert measure(MultiLabelMAP(), (logits[::-1], labels[::-1])) == pytest.approx(found, rel=1e-12)


def test_labels_that_nobody_has_are_left_out_of_the_mean():
    logits, labels = case()
    labels[:, 2] = 0
    kept = [0, 1, 3, 4, 5]
    assert measure(MultiLabelMAP(), (logits, labels)) == measure(MultiLabelMAP(), (logits[:, kept], labels[:, kept]))


def test_eleven_points_take_the_best_precision_at_each_recall():
    logits, labels = case(classes=1, seed=4)
    order = np.argsort(-logits[:, 0])
    hits = np.cumsum(labels[order, 0].astype(int))
    points = []
    for tenth in range(11):
        reached = [hits[n] / (n + 1) for n in range(len(hits)) if 10 * hits[n] >= tenth * hits[-1]]
        points.append(max(reached))
    found = measure(MultiLabelMAP(map_type="11point"), (logits, labels))
    assert found["MultiLabelMAP"] == pytest.approx(np.mean(points), rel=1e-12)


def test_the_best_threshold_is_found():
    logits, labels = case()
    probabilities = 1 / (1 + np.exp(-logits.astype(float)))
    shares = {0.4 + 0.05 * n: ((probabilities > 0.4 + 0.05 * n) == labels).mean() for n in range(10)}
    best = max(shares.values())
    found = measure(MultilabelMeanAccuracy(), (logits, labels))
    assert found["MultilabelMeanAccuracy"] == pytest.approx(best, rel=1e-12)
    assert found["threshold"] == pytest.approx(max(t for t, share in shares.items() if share == best))


def test_unknown_labels_do_not_count():
    logits, labels = case()
    unknown = np.where(np.arange(len(labels))[:, None] < 20, -1, labels)
    for metric in (HammingDistance(), AccuracyScore(), MultiLabelMAP(), MultiLabelMAP(map_type="11point")):
        assert measure(metric, (logits, unknown)) == measure(metric, (logits[20:], labels[20:]))

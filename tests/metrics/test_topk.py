import numpy as np

from ppcls_compress.metrics import Metrics
from ppcls_compress.metrics.topk import GoogLeNetTopkAcc, TopkAcc


def measure(logits, labels, *ks):
    metrics = Metrics([TopkAcc(topk=ks)])
    return metrics.measure([metrics.keep(logits, labels)])


def test_counts_labels_among_the_highest_scores():
    logits = np.array([[0.1, 0.9, 0.5], [0.8, 0.2, 0.1], [0.3, 0.2, 0.1], [0.3, 0.1, 0.2]])
    assert measure(logits, np.array([1, 1, 2, 1]), 1, 2, 3) == {"top1": 0.25, "top2": 0.5, "top3": 1.0}


def test_more_classes_than_there_are_means_all():
    assert measure(np.zeros((4, 3)), np.zeros(4, int), 5) == {"top5": 1.0}


def test_ties_and_nan_are_not_right():
    assert measure(np.zeros((4, 10)), np.zeros(4, int), 1, 5) == {"top1": 0.0, "top5": 0.0}
    assert measure(np.full((4, 10), np.nan), np.zeros(4, int), 1) == {"top1": 0.0}


def test_any_split_into_batches_gives_the_same():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((50, 10)), rng.integers(0, 10, 50)
    metrics = Metrics([TopkAcc(topk=(1, 5))])
    parts = [metrics.keep(logits[chosen], labels[chosen]) for chosen in (slice(13), slice(13, 14), slice(14, None))]
    assert metrics.measure(parts) == metrics.measure([metrics.keep(logits, labels)])


def test_the_first_of_several_outputs_is_judged():
    rng = np.random.default_rng(0)
    outputs, labels = [rng.standard_normal((30, 10)) for _ in range(3)], rng.integers(0, 10, 30)
    metrics = Metrics([GoogLeNetTopkAcc(topk=(1, 3))])
    assert metrics.measure([metrics.keep(outputs, labels)]) == measure(outputs[0], labels, 1, 3)
    assert metrics.measure([metrics.keep({"logits": outputs[1]}, labels)]) == measure(outputs[1], labels, 1, 3)

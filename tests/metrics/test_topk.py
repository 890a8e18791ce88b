import numpy as np

from ppcls_compress.metrics import build_metric
from ppcls_compress.metrics.topk import TopkAcc, topk_correct


def test_counts_labels_among_the_highest_scores():
    logits = np.array([[0.1, 0.9, 0.5], [0.8, 0.2, 0.1], [0.3, 0.2, 0.1]])
    assert topk_correct(logits, np.array([1, 1, 2]), (1, 2, 3)) == {"top1": 1.0, "top2": 2.0, "top3": 3.0}


def test_more_classes_than_there_are_means_all():
    assert topk_correct(np.zeros((4, 3)), np.zeros(4, int), (5,)) == {"top5": 4.0}


def test_ties_and_nan_are_not_right():
    assert topk_correct(np.zeros((4, 10)), np.zeros(4, int), (1, 5)) == {"top1": 0.0, "top5": 0.0}
    assert topk_correct(np.full((4, 10), np.nan), np.zeros(4, int), (1,)) == {"top1": 0.0}


def test_splits_add_up():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((50, 10)), rng.integers(0, 10, 50)
    metric = build_metric([TopkAcc(topk=(1, 5))])
    whole, first, second = metric(logits, labels), metric(logits[:13], labels[:13]), metric(logits[13:], labels[13:])
    assert whole == {name: first[name] + second[name] for name in whole}

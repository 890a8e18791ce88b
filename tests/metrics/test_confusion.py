import numpy as np

from ppcls_compress.metrics.confusion import WithConfusion
from ppcls_compress.metrics.topk import TopkAcc


def test_answers_are_counted_by_class_over_all_batches():
    rng = np.random.default_rng(0)
    metrics = WithConfusion([TopkAcc(topk=(1, 2))])
    labels, answers, kept = rng.integers(0, 3, 50), rng.integers(0, 4, 50), []
    for part in np.array_split(np.arange(50), 4):
        logits = np.eye(4, dtype=np.float32)[answers[part]]
        kept.append(metrics.keep(logits, labels[part]))
    found = metrics.measure(kept)
    assert found["top1"] == np.mean(labels == answers)
    expected = [[int(((labels == i) & (answers == j)).sum()) for j in range(4)] for i in range(4)]
    report = metrics.report(["a", "b"])
    assert report["confusion_matrix"] == expected
    assert [row["name"] for row in report["per_class"]] == ["a", "b", None, None]
    assert report["per_class"][3] == {"class_id": 3, "name": None, "images": 0, "accuracy": None}
    assert report["per_class"][1]["accuracy"] == np.mean(answers[labels == 1] == 1)


def test_many_classes_have_their_answers_and_no_matrix():
    count = 20_000
    metrics = WithConfusion([TopkAcc(topk=(1,))])
    logits = np.zeros((3, count), np.float32)
    logits[[0, 1, 2], [7, 19_999, 8]] = 1
    metrics.measure([metrics.keep(logits, np.array([7, 19_999, 7]))])
    report = metrics.report(None)
    assert report["confusion_matrix"] is None
    assert len(report["per_class"]) == count
    assert [report["per_class"][index]["accuracy"] for index in (7, 19_999, 8)] == [0.5, 1.0, None]

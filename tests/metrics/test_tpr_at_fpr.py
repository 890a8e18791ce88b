import numpy as np
import pytest
from sklearn.metrics import roc_curve

from ppcls_compress.errors import UserError
from ppcls_compress.metrics import Metrics
from ppcls_compress.metrics.tpr_at_fpr import TprAtFpr


def case(samples=400, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, samples)
    logits = rng.standard_normal((samples, 2)).astype(np.float32)
    logits[:, 1] += 2 * labels
    return logits, labels


def scores(logits):
    return np.exp(logits[:, 1]) / np.exp(logits).sum(1)


def measure(metric, *batches):
    metrics = Metrics([metric])
    return metrics.measure([metrics.keep(logits, labels) for logits, labels in batches])


@pytest.mark.parametrize("max_fpr", [0.001, 0.01, 0.2, 1.0])
def test_the_rates_are_those_of_the_best_of_ten_thousand_thresholds(max_fpr):
    logits, labels = case()
    best = (0.0, 0.0, 1.0)
    for step in range(10_000):
        above = scores(logits) > np.float32(step / 10_000)
        tpr, fpr = above[labels == 1].mean(), above[labels == 0].mean()
        if fpr <= max_fpr and tpr > best[0]:
            best = (tpr, fpr, step / 10_000)
    found = measure(TprAtFpr(max_fpr=max_fpr), (logits[:150], labels[:150]), (logits[150:], labels[150:]))
    assert tuple(found[name] for name in ("tpr", "fpr", "threshold")) == pytest.approx(best, abs=1e-12)
    assert found["tpr"] > 0


def test_the_rates_lie_on_the_curve_of_scikit_learn():
    logits, labels = case()
    fprs, tprs, _ = roc_curve(labels, scores(logits), drop_intermediate=False)
    found = measure(TprAtFpr(max_fpr=0.1), (logits, labels))
    assert found["tpr"] == pytest.approx(tprs[fprs <= 0.1].max(), abs=2 / (labels == 1).sum())
    assert min(abs(fprs - found["fpr"]) + abs(tprs - found["tpr"])) < 1e-12


def test_without_an_allowed_threshold_nothing_is_found():
    logits = np.array([[0.0, 20.0], [0.0, -1.0]], np.float32)
    assert measure(TprAtFpr(), (logits, np.array([0, 1]))) == {"tpr": 0.0, "fpr": 0.0, "threshold": 1.0}


def test_without_positive_or_negative_samples_the_values_stay_finite():
    logits, labels = case(samples=20)
    assert measure(TprAtFpr(), (logits, np.zeros_like(labels)))["tpr"] == 0.0
    only = measure(TprAtFpr(), (logits, np.ones_like(labels)))
    assert (only["tpr"], only["fpr"]) == (1.0, 0.0)


def test_one_class_alone_has_no_score():
    with pytest.raises(UserError, match=r"Arch\.class_num is 1; set it to 2"):
        TprAtFpr().keep(np.zeros((2, 1), np.float32), np.array([0, 1]))

import numpy as np
import pytest

from ppcls_compress.metrics import METRICS
from ppcls_compress.metrics.topk import TopkAcc
from ppcls_compress.search import judge
from ppcls_compress.search.bounds import levels, paired_bound


class Config:
    def __init__(self, metric):
        self.Metric = type("Metric", (), {"Eval": (metric,)})


def ranks(*values):
    return {"rank": np.array(values), "classes": np.full(len(values), 10)}


def test_a_drop_is_counted_in_points_image_by_image():
    dense, other = ranks(*[0] * 90, *[4] * 10), ranks(*[0] * 88, 3, 3, 0, *[4] * 9)
    drop = judge.drop(Config(TopkAcc(topk=(1,))), dense, other)
    assert drop.points == pytest.approx(1.0)
    assert drop.bound == pytest.approx(100 * paired_bound(2, 1, 100))
    assert judge.drop(Config(TopkAcc(topk=(5,))), dense, other).points == 0


def test_what_so_many_images_can_prove_at_best():
    config = Config(TopkAcc(topk=(1,)))
    assert judge.least_bound(config, ranks(*[0] * 96, 1, 1, 1, 1)) < 0 < judge.least_bound(config, ranks(*[0] * 100))
    first = 100 * paired_bound(0, 0, 100, levels(3)[0])  # the share of the error that the first finalist has
    assert judge.least_bound(config, ranks(*[0] * 100)) == judge.unchanged_bound(100) == pytest.approx(first)


def test_other_metrics_are_resampled():
    rng = np.random.default_rng(0)
    metric = METRICS.get("TprAtFpr")()
    labels = rng.integers(0, 2, 200)
    scores = np.stack([-labels + rng.normal(0, 1, 200), labels + rng.normal(0, 1, 200)], axis=1).astype(np.float32)
    dense = metric.keep(scores, labels)
    drop = judge.drop(Config(metric), dense, metric.keep(scores + rng.normal(0, 2, scores.shape).astype("f"), labels))
    assert drop.points > 0
    assert drop.bound > drop.points


def test_answers_are_kept_and_read(tmp_path):
    judge.save(ranks(1, 2), tmp_path / "answers.npz")
    assert judge.load(tmp_path / "answers.npz")["rank"].tolist() == [1, 2]
    (tmp_path / "answers.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="cannot be read; remove it"):
        judge.load(tmp_path / "answers.npz")

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppcls_compress.engine import distributed
from ppcls_compress.engine.evaluate import evaluate, evaluate_model
from ppcls_compress.losses import build_loss
from ppcls_compress.losses.cross_entropy import CELoss
from ppcls_compress.metrics import Metrics
from ppcls_compress.metrics.attributes import ATTRMetric
from ppcls_compress.metrics.topk import GoogLeNetTopkAcc, TopkAcc

ROOT = Path(__file__).resolve().parents[2]
METRICS = Metrics([TopkAcc(topk=(1, 2))])


def batches(*sizes):
    rng = np.random.default_rng(0)
    return [(paddle.to_tensor(rng.random((n, 4), np.float32)), paddle.to_tensor(rng.integers(0, 4, n))) for n in sizes]


def test_unequal_batches_weigh_by_their_samples():
    split = batches(5, 2, 1)
    whole = [tuple(paddle.concat(parts) for parts in zip(*split, strict=True))]
    first = evaluate(lambda images: images, split, METRICS, build_loss([CELoss()]))
    second = evaluate(lambda images: images, whole, METRICS, build_loss([CELoss()]))
    assert list(first) == ["top1", "top2", "loss"]
    assert first == pytest.approx(second, rel=1e-5)


def test_model_is_evaluated_in_evaluation_mode_and_put_back():
    model = paddle.nn.Sequential(paddle.nn.Dropout(0.9))
    model.train()
    data = batches(8)
    assert evaluate_model(model, data, METRICS) == evaluate(lambda images: images, data, METRICS)
    assert model.training


def test_the_samples_of_all_processes_are_measured_together(monkeypatch):
    """Attributes of which one process sees no positive sample: the mean of two scores would be another number."""
    rng = np.random.default_rng(1)
    scores, labels = rng.standard_normal((12, 3), np.float32), rng.integers(0, 2, (12, 3)).astype("float32")
    labels[:5] = 0
    shares = [[tuple(map(paddle.to_tensor, (scores[part], labels[part])))] for part in (slice(5), slice(5, None))]
    metrics = Metrics([ATTRMetric()])
    kept = [metrics.keep(scores[part], labels[part]) for part in (slice(5), slice(5, None))]
    monkeypatch.setattr(distributed, "gather", lambda own: kept)
    monkeypatch.setattr(distributed, "add_up", lambda sums: {**sums, "count": 12.0})
    whole = metrics.measure([metrics.keep(scores, labels)])
    for share in shares:
        assert evaluate(lambda images: images, share, metrics) == whole
    assert evaluate(lambda images: images, [], metrics) == whole  # a process without any sample


def test_networks_with_several_outputs_are_judged_by_the_first():
    ((images, labels),) = batches(9)
    several = evaluate(lambda x: [x, -x, {"logits": x}], [(images, labels)], Metrics([GoogLeNetTopkAcc(topk=(1, 2))]))
    assert several == evaluate(lambda x: x, [(images, labels)], METRICS)


RANK = """
import json, sys
import numpy as np, paddle
from ppcls_compress.engine import distributed
from ppcls_compress.engine.evaluate import evaluate
from ppcls_compress.metrics import Metrics
from ppcls_compress.metrics.attributes import ATTRMetric
from ppcls_compress.metrics.multilabel import MultiLabelMAP

distributed.start()
rng = np.random.default_rng(0)
scores = rng.standard_normal((9, 3), np.float32)
labels = rng.integers(0, 2, (9, 3)).astype("float32")
parts = {1: [slice(0, 9)], 2: [slice(0, 4), slice(4, 9)], 3: [slice(0, 2), slice(2, 9), slice(9, 9)]}
own = parts[distributed.world_size()][paddle.distributed.get_rank()]
batches = [tuple(map(paddle.to_tensor, (scores[own], labels[own])))] if own.start < own.stop else []
found = evaluate(lambda images: images, batches, Metrics([ATTRMetric(), MultiLabelMAP()]))
with open(f"{sys.argv[1]}/{distributed.world_size()}_{paddle.distributed.get_rank()}.json", "w") as file:
    json.dump(found, file)
"""


@pytest.mark.slow
def test_any_number_of_processes_measures_the_same(tmp_path):
    """Shares of unequal size, and with three processes one without any sample."""
    (tmp_path / "rank.py").write_text(RANK)
    for processes in (1, 2, 3):
        launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", str(processes), "--backend", "gloo"]
        command = [
            sys.executable,
            *launch,
            "--log_dir",
            str(tmp_path / "log"),
            str(tmp_path / "rank.py"),
            str(tmp_path),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
    (whole, *others) = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))]
    assert len(others) == 5
    assert all(found == pytest.approx(whole, rel=1e-12) for found in others)

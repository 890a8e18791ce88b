"""Losses of codes against their formulas, written out per pair."""

import math

import numpy as np
import paddle
import pytest

from ppcls_compress.losses import LOSSES, build_loss

N, K, C = 6, 4, 3
RNG = np.random.default_rng(0)
U, LOGITS = RNG.standard_normal((N, K)), RNG.standard_normal((N, C))
Y = np.array([0, 1, 2, 0, 1, 1])
SAME = (Y[:, None] == Y[None]).astype(float)
PAIRS = [(i, j) for i in range(N) for j in range(N)]


def loss(name, labels=Y, **options):
    output = {key: paddle.to_tensor(value.astype("float32")) for key, value in (("features", U), ("logits", LOGITS))}
    return float(build_loss([LOSSES.get(name)(**options)])(output, paddle.to_tensor(labels)).total)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def test_deep_cauchy_hashing():
    def distance(a, b):
        return (1 - min(a @ b / np.linalg.norm(a) / np.linalg.norm(b), 0.99)) * K / 2

    likes, total = SAME.sum(), N * N
    pull = 0.0
    for i, j in PAIRS:
        d, s = distance(U[i], U[j]), SAME[i, j]
        weight = total / likes if s else total / (total - likes)
        pull += weight * (s * math.log(d / 20) + math.log(1 + 20 / d)) / total
    rounding = np.mean([math.log(1 + distance(abs(u), np.ones(K)) / 20) for u in U])
    found = loss("DCHLoss", gamma=20.0, _lambda=0.1, n_class=10)
    assert found == pytest.approx(pull + 0.1 * rounding, rel=1e-4)


def test_locality_constrained_hashing():
    likelihood = rounding = 0.0
    for i, j in PAIRS:
        s = 1 if SAME[i, j] else -1
        p, b = U[i] @ U[j] / 2, np.sign(U[i]) @ np.sign(U[j]) / 2
        likelihood += math.log(1 + math.exp(-s * p)) / N**2
        rounding += (sigmoid(p) - sigmoid(b)) ** 2 / N**2
    assert loss("LCDSHLoss", n_class=C, _lambda=3.0) == pytest.approx(likelihood + 3.0 * rounding, rel=1e-4)


def pairs_of(same):
    total = 0.0
    for i, j in PAIRS:
        d = ((U[i] - U[j]) ** 2).sum()
        total += (d / 2 if same[i, j] else max(0, 2 * K - d) / 2) / N**2
    return total


def test_hashing_by_a_stable_distribution():
    entropy = np.mean([math.log(np.exp(row).sum()) - row[y] for row, y in zip(LOGITS, Y, strict=True)])
    assert loss("DSHSDLoss", alpha=0.05) == pytest.approx(entropy + 0.05 * pairs_of(SAME), rel=1e-4)


def test_hashing_of_several_labels():
    members = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 0], [0, 1, 1]], "float32")
    share = members @ members.T > 0
    entropy = np.mean(
        [
            sum(-y * math.log(sigmoid(z)) - (1 - y) * math.log(1 - sigmoid(z)) for z, y in zip(row, m, strict=True))
            for row, m in zip(LOGITS, members, strict=True)
        ]
    )
    found = loss("DSHSDLoss", labels=members, alpha=0.05, multi_label=True)
    assert found == pytest.approx(entropy + 0.05 * pairs_of(share), rel=1e-4)

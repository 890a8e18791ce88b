"""Losses of features against their formulas, written out per image and pair."""

import math

import numpy as np
import paddle
import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.losses import LOSSES, build_loss

N, D = 8, 6
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D))
Y = np.array([0, 0, 1, 1, 2, 2, 3, 3])
UNIT = X / np.linalg.norm(X, axis=1, keepdims=True)
COSINES = UNIT @ UNIT.T
PAIRS = [(i, j) for i in range(N) for j in range(N)]


def loss(name, features=X, labels=Y, **options):
    output = {"features": paddle.to_tensor(features.astype("float32")), "backbone": paddle.zeros([len(labels), 2])}
    return float(build_loss([LOSSES.get(name)(**options)])(output, paddle.to_tensor(labels)).total)


def hinge(value):
    return max(0.0, value)


def hardest(distance, worst=max, best=min):
    """Per image, the worst of its identity and the best of another."""
    return [
        (
            worst(distance[i, j] for j in range(N) if Y[i] == Y[j]),
            best(distance[i, j] for j in range(N) if Y[i] != Y[j]),
        )
        for i in range(N)
    ]


def euclidean(x):
    return np.linalg.norm(x[:, None] - x[None], axis=2)


@pytest.mark.parametrize("labels", [Y, np.stack([Y, np.arange(N)], axis=1)])
def test_triplets_of_the_hardest_pairs(labels):
    expected = np.mean([hinge(0.3 + p - n) for p, n in hardest(euclidean(UNIT))])
    assert loss("TripletLossV2", labels=labels, margin=0.3) == pytest.approx(expected, rel=1e-4)
    expected = np.mean([hinge(0.3 + p - n) for p, n in hardest(euclidean(X))])
    assert loss("TripletLossV2", labels=labels, margin=0.3, normalize_feature=False) == pytest.approx(
        expected, rel=1e-4
    )
    assert loss("TripletLoss", labels=labels, margin=0.3) == pytest.approx(expected, rel=1e-4)


def test_the_output_that_is_compared_can_be_chosen():
    assert loss("TripletLossV2", margin=0.3, feature_from="backbone") == pytest.approx(0.3, abs=1e-5)
    with pytest.raises(UserError, match="no output 'neck'; it gives features, backbone"):
        loss("TripletLossV2", feature_from="neck")


def test_a_batch_of_one_identity_has_no_negative_and_costs_nothing():
    same = np.zeros(N, int)
    assert loss("TripletLossV2", labels=same) == 0
    assert loss("TripletAngularMarginLoss", labels=same) == 0


@pytest.mark.parametrize(("reduction", "of"), [("mean", np.mean), ("sum", np.sum)])
def test_triplets_of_cosines(reduction, of):
    pairs = hardest(COSINES, worst=min, best=max)
    ranked = of([hinge(0.5 - p + n) for p, n in pairs])
    assert loss("TripletAngularMarginLoss", reduction=reduction) == pytest.approx(ranked, rel=1e-4)
    absolute = np.mean([hinge(0.8 - p) for p, _ in pairs]) + np.mean([hinge(n - 0.4) for _, n in pairs])
    found = loss(
        "TripletAngularMarginLoss",
        reduction=reduction,
        add_absolute=True,
        absolute_loss_weight=0.1,
        ap_value=0.8,
        an_value=0.4,
    )
    assert found == pytest.approx(ranked + 0.1 * absolute, rel=1e-4)


def test_hardest_pairs_of_groups():
    squares = euclidean(UNIT) ** 2
    pairs = hardest(squares)
    expected = np.mean([hinge(p + 0.1 - n) for p, n in pairs])
    assert loss("TriHardLoss", batch_size=N) == pytest.approx(expected, rel=1e-4)
    expected = hinge(max(p for p, _ in pairs) + 0.1 - min(n for _, n in pairs))
    assert loss("MSMLoss", batch_size=N) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("scale", [0.5, 3.0])  # with gaps below and above 20
def test_ensemble_metric(scale):
    squares, beta, per_image = euclidean(scale * X) ** 2, 1e5, []

    def curve(theta, gap):
        return math.log(1 + beta * theta * math.exp(gap)) / math.log(1 + beta)

    for i in range(N):
        own = [squares[i, j] for j in range(N) if Y[i] == Y[j] and i != j]
        other = [squares[i, j] for j in range(N) if Y[i] != Y[j]]
        theta = np.mean(np.exp(np.array(own) - max(own))) * np.mean(np.exp(min(other) - np.array(other)))
        gap = max(own) - min(other)
        line = (math.log(theta) + max(gap, 20) + math.log(beta)) / math.log(1 + beta)
        per_image.append(curve(theta, min(gap, 20)) + line - curve(theta, 20))
    found = loss("EmlLoss", features=scale * X, batch_size=N)
    assert found == pytest.approx(np.mean(per_image), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", ["TriHardLoss", "MSMLoss", "EmlLoss"])
def test_groups_need_batches_of_their_size(name):
    with pytest.raises(UserError, match=f"{name}: batch_size is 12, but a batch has 8 images"):
        loss(name, batch_size=12)


@pytest.mark.parametrize(("mode", "anchors"), [("all", range(N)), ("one", range(0, N, 2))])
def test_supervised_contrast(mode, anchors):
    scores = COSINES / 0.1
    terms = []
    for i in anchors:
        others = [j for j in range(N) if j != i]
        bottom = math.log(sum(math.exp(scores[i, j]) for j in others))
        terms.append(np.mean([scores[i, j] - bottom for j in others if Y[i] == Y[j]]))
    found = loss("SupConLoss", views=2, temperature=0.1, contrast_mode=mode)
    assert found == pytest.approx(-0.1 / 0.07 * np.mean(terms), rel=1e-4)


def test_an_anchor_without_a_partner_does_not_count():
    labels = np.array([0, 0, 1, 1, 2, 2, 3, 4])
    assert np.isfinite(loss("SupConLoss", labels=labels, views=2))
    assert loss("SupConLoss", labels=np.arange(N), views=2) == 0


def test_pairwise_cosface():
    terms = []
    for i in range(N):
        own = sum(math.exp(-8 * COSINES[i, j]) for j in range(N) if Y[i] == Y[j] and i != j)
        other = sum(math.exp(8 * (COSINES[i, j] + 0.35)) for j in range(N) if Y[i] != Y[j])
        terms.append(math.log(1 + own * other))
    assert loss("PairwiseCosface", margin=0.35, gamma=8.0) == pytest.approx(np.mean(terms), rel=1e-4)


def test_n_pairs():
    products = X[::2] @ X[1::2].T
    entropy = np.mean([math.log(np.exp(row).sum()) - row[i] for i, row in enumerate(products)])
    expected = entropy + 0.5 * 0.01 * np.mean((X**2).sum(1))
    assert loss("NpairsLoss") == pytest.approx(expected, rel=1e-4)
    with pytest.raises(UserError, match="a batch of 7 images has no pairs"):
        loss("NpairsLoss", features=X[:7], labels=Y[:7])


def contrast(rows, against, labels, others, margin=0.1, epsilon=1e-5):
    total = 0.0
    for row, label in zip(rows, labels, strict=True):
        for column, other in zip(against, others, strict=True):
            cosine = row @ column
            if label == other:
                total += 1 - cosine if cosine < 1 - epsilon else 0
            else:
                total += cosine if cosine > margin else 0
    return total / len(rows)


def test_contrast():
    expected = contrast(UNIT, UNIT, Y, Y)
    assert loss("ContrastiveLoss", margin=0.1, embedding_size=D) == pytest.approx(expected, rel=1e-4)


def test_features_of_another_width_are_refused():
    with pytest.raises(UserError, match="ContrastiveLoss.embedding_size: is 5, but features of the network have 6"):
        loss("ContrastiveLoss", margin=0.1, embedding_size=5)
    with pytest.raises(UserError, match="CenterLoss.feat_dim: is 5, but features of the network have 6"):
        loss("CenterLoss", num_classes=4, feat_dim=5)


def memory(size=20, start=1):
    options = {"margin": 0.1, "embedding_size": D, "xbm_size": size, "xbm_weight": 0.5, "start_iter": start}
    return build_loss([LOSSES.get("ContrastiveLoss_XBM")(**options)])


def batch(seed):
    x = np.random.default_rng(seed).standard_normal((N, D))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def told(total, x):
    return float(total({"features": paddle.to_tensor(x.astype("float32"))}, paddle.to_tensor(Y)).total)


def test_a_memory_of_batches_goes_round():
    """20 places: batches one and two stand in the first 16, the third takes the last 8, the fourth the first."""
    total, batches = memory(), [batch(seed) for seed in range(6)]
    kept_x, kept_y = np.zeros((20, D)), np.zeros(20, int)
    assert told(total, batches[0]) == pytest.approx(contrast(batches[0], batches[0], Y, Y), rel=1e-4)
    for x, start, filled in zip(batches[1:], [0, 8, 12, 0, 8], [8, 16, 20, 20, 20], strict=True):
        kept_x[start : start + N], kept_y[start : start + N] = x, Y
        expected = contrast(x, x, Y, Y) + 0.5 * contrast(x, kept_x[:filled], Y, kept_y[:filled])
        assert told(total, x) == pytest.approx(expected, rel=1e-4)


def test_a_memory_goes_on_from_its_state():
    first, second = memory(), memory()
    for seed in range(3):
        told(first, batch(seed))
    second.layers()["ContrastiveLoss_XBM"].set_state_dict(first.layers()["ContrastiveLoss_XBM"].state_dict())
    assert told(first, batch(9)) == told(second, batch(9))


def test_processes_remember_the_batches_of_all_of_them(monkeypatch):
    other = (batch(7).astype("float32")[:3], np.array(Y[:3]))  # the batch of rank 1, a shorter one
    monkeypatch.setattr(paddle.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(paddle.distributed, "all_gather_object", lambda found, own: found.extend([own, other]))
    total, x = memory(start=0), batch(0)
    expected = contrast(x, x, Y, Y) + 0.5 * contrast(x, np.concatenate([x, other[0]]), Y, [*Y, *other[1]])
    assert told(total, x) == pytest.approx(expected, rel=1e-4)
    assert total.layers()["ContrastiveLoss_XBM"].counts.tolist() == [1, N + 3, N + 3]


def test_no_gradient_reaches_the_memory():
    total = memory(start=0)
    x = paddle.to_tensor(batch(0).astype("float32"), stop_gradient=False)
    total({"features": x}, paddle.to_tensor(Y)).total.backward()
    layer = total.layers()["ContrastiveLoss_XBM"]
    assert layer.feats.stop_gradient
    assert layer.parameters() == []
    assert float(x.grad.abs().sum()) > 0


def test_centers_are_learned():
    total = build_loss([LOSSES.get("CenterLoss")(num_classes=5, feat_dim=D)])
    (centers,) = total.parameters()
    expected = np.mean([((x - centers.numpy()[y]) ** 2).sum() for x, y in zip(X, Y, strict=True)])
    found = total({"features": paddle.to_tensor(X.astype("float32"))}, paddle.to_tensor(Y)).total
    assert float(found) == pytest.approx(expected, rel=1e-4)
    found.backward()
    gradient = np.zeros((5, D))
    for x, y in zip(X, Y, strict=True):
        gradient[y] += 2 / N * (centers.numpy()[y] - x)
    np.testing.assert_allclose(centers.grad.numpy(), gradient, rtol=1e-4, atol=1e-6)

import numpy as np
import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.slim.prune.choose.criteria import CRITERIA, Filters, ranking
from ppcls_compress.slim.prune.choose.selection import removed_count


def brute_force_fpgm(weight):
    return np.array([sum(np.sqrt(((a - b) ** 2).sum()) for b in weight) for a in weight.astype(np.float64)])


REFERENCES = {
    "fpgm": brute_force_fpgm,
    "l1_norm": lambda w: np.array([np.mean([abs(v) for v in row]) for row in w.astype(np.float64)]),
    "l2_norm": lambda w: np.array([np.linalg.norm(row) for row in w.astype(np.float64)]),
}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("shape", [(1, 4), (7, 3), (64, 576), (200, 300)])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_criterion_equals_brute_force(name, shape, offset):
    weight = (np.random.default_rng(0).standard_normal(shape) + offset).astype("float32")
    scores = CRITERIA.get(name).score(Filters("w", weight))
    np.testing.assert_allclose(scores, REFERENCES[name](weight), rtol=1e-5, atol=1e-6)


def test_large_layers_are_scored_in_single_precision_and_ranked_alike():
    weight = np.random.default_rng(1).standard_normal((512, 1152)).astype("float32")
    scores, exact = CRITERIA.get("fpgm").score(Filters("w", weight)), brute_force_fpgm(weight)
    np.testing.assert_allclose(scores, exact, rtol=1e-6)
    removed = set(ranking(scores)[:154].tolist())
    assert exact[list(removed)].max() <= np.delete(exact, list(removed)).min() * (1 + 1e-6)


def test_tied_filters_go_in_the_order_of_their_index():
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((32, 27)).astype("float32")
    weight[[3, 8, 20, 31]] = weight[5] * 0.1  # copies near the median
    weight[5] *= 0.1
    order = ranking(CRITERIA.get("fpgm").score(Filters("w", weight)))
    assert order[:5].tolist() == [3, 5, 8, 20, 31]
    assert ranking(np.ones(100)).tolist() == list(range(100))


@pytest.mark.parametrize("copies", [[7, 300, 1500], range(0, 2048, 5)])
def test_equal_filters_of_a_layer_that_starts_in_single_precision_are_tied(copies):
    weight = np.random.default_rng(5).standard_normal((2048, 256)).astype("float32")
    weight[list(copies)] = 0  # dead filters, nearest to all others
    scores = CRITERIA.get("fpgm").score(Filters("w", weight))
    assert ranking(scores)[: len(copies)].tolist() == list(copies)
    some = weight[:50].astype("float64")
    exact = np.sqrt(((some[:, None] - weight.astype("float64")[None]) ** 2).sum(axis=2)).sum(axis=1)
    np.testing.assert_allclose(scores[:50], exact, rtol=1e-10)


def test_nearly_equal_filters_are_told_apart():
    weight = np.random.default_rng(6).standard_normal((256, 1152)).astype("float32")
    weight[1:128] = weight[0] + 1e-5 * weight[1:128]
    scores = CRITERIA.get("fpgm").score(Filters("w", weight))
    np.testing.assert_allclose(scores, brute_force_fpgm(weight), rtol=1e-10)


def test_bn_scale_and_taylor():
    weight = np.random.default_rng(3).standard_normal((4, 6)).astype("float32")
    gradient = np.random.default_rng(4).standard_normal((4, 6)).astype("float32")
    filters = Filters("conv.weight", weight, gradient, np.array([-2, 1, 0.5, 3], dtype="float32"))
    assert CRITERIA.get("bn_scale").score(filters).tolist() == [2, 1, 0.5, 3]
    wanted = [abs(sum(g * w for g, w in zip(*rows, strict=True))) for rows in zip(gradient, weight, strict=True)]
    np.testing.assert_allclose(CRITERIA.get("taylor").score(filters), wanted, rtol=1e-5)
    with pytest.raises(UserError, match="no batch normalization with a scale follows conv.weight"):
        CRITERIA.get("bn_scale").score(Filters("conv.weight", weight))
    with pytest.raises(UserError, match="conv.weight has no gradient; run a backward pass"):
        CRITERIA.get("taylor").score(Filters("conv.weight", weight))


@pytest.mark.parametrize(
    ("size", "ratio", "removed"), [(25, 0.1, 2), (15, 0.1, 2), (5, 0.1, 0), (10, 0.99, 9), (1, 0.9, 0), (64, 0.3, 19)]
)
def test_number_of_filters_removed_is_paddleslims(size, ratio, removed):
    assert removed_count(size, ratio) == removed

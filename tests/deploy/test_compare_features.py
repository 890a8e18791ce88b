import numpy as np
import pytest

from ppcls_compress.deploy.compare import FLOAT, Reference, Tolerance, compare, problem

FEATURES = np.random.default_rng(0).standard_normal((20, 64)).astype("float32")
QUANTIZED = Tolerance(0.98, 0.02)


def report(outputs, tolerance, **options):
    reference = Reference(np.zeros((20, 1, 1, 1)), FEATURES, "features", source="20 images", **options)
    return compare(reference, outputs, tolerance)


def turned(cosine, seed=1):
    """Features that have this cosine with the reference, of other lengths."""
    own = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)
    other = np.random.default_rng(seed).standard_normal(own.shape)
    other -= (other * own).sum(axis=1, keepdims=True) * own
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return (3 * (cosine * own + np.sqrt(1 - cosine**2) * other)).astype("float32")


@pytest.mark.parametrize("cosine", [1.0, 0.99, 0.9, 0.0])
def test_the_measure_is_the_mean_cosine_whatever_the_lengths(cosine):
    assert report(turned(cosine), QUANTIZED).agreement == pytest.approx(cosine, abs=1e-5)


@pytest.mark.parametrize(("cosine", "strict", "fails"), [(0.985, True, False), (0.97, True, True), (0.97, False, True)])
def test_quantized_features_are_judged_by_cosine(cosine, strict, fails):
    found = problem(report(turned(cosine), QUANTIZED), QUANTIZED, strict=strict)
    assert (found is not None) == fails
    assert not fails or "the cosine 0.97" in found


def test_float_features_may_differ_by_rounding_alone():
    noise = 1e-6 * np.random.default_rng(2).standard_normal(FEATURES.shape)
    assert problem(report(FEATURES + noise, FLOAT), FLOAT, strict=False) is None
    assert "cosine" in problem(report(turned(0.999), FLOAT), FLOAT, strict=False)
    shifted = FEATURES.copy()
    shifted[0, 0] += 0.05
    assert "the largest difference of features" in problem(report(shifted, FLOAT), FLOAT, strict=False)


def test_words_speak_of_cosines():
    assert str(report(FEATURES, FLOAT)).startswith(
        "cosine 1.000000 on average over 20 images, features of a length of one"
    )

import numpy as np

from ppcls_compress.data.transforms.batch import BatchPipeline
from ppcls_compress.data.transforms.batch.mixing import CutmixOperator, MixupOperator

LABELS = np.array([0, 3, 1, 1, 2, 0], np.int64)
IMAGES = np.broadcast_to(np.arange(6, dtype=np.float32)[:, None, None, None], (6, 3, 8, 10))
ONE_HOT = np.eye(4, dtype=np.float32)[LABELS]


def run(*ops, seed=0):
    return BatchPipeline(ops, class_num=4)(IMAGES.copy(), LABELS, np.random.default_rng(seed))


def test_without_transforms_labels_stay_integers():
    images, labels = run()
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_mixup_blends_images_and_targets_by_the_same_weight():
    weights = []
    for seed in range(20):
        images, targets = run(MixupOperator(alpha=1.0), seed=seed)
        rng = np.random.default_rng(seed)
        partner, weight = rng.permutation(6), rng.beta(1.0, 1.0)
        np.testing.assert_allclose(images, weight * IMAGES + (1 - weight) * IMAGES[partner], rtol=1e-6)
        np.testing.assert_allclose(targets, weight * ONE_HOT + (1 - weight) * ONE_HOT[partner], atol=1e-6)
        weights.append(weight)
        assert images.dtype == targets.dtype == np.float32
    assert min(weights) < 0.2
    assert max(weights) > 0.8


def test_cutmix_targets_are_the_parts_of_the_area():
    parts = []
    for seed in range(50):
        images, targets = run(CutmixOperator(alpha=1.0), seed=seed)
        for image, target, own in zip(images, targets, range(6), strict=True):
            kept = float((image[0] == own).mean())
            others = set(np.unique(image)) - {own}
            assert len(others) <= 1
            expected = kept * ONE_HOT[own] + (1 - kept) * (ONE_HOT[int(others.pop())] if others else 0)
            np.testing.assert_allclose(target, expected, atol=1e-6)
            parts.append(kept)
    assert min(parts) < 0.5


def test_cutmix_pastes_a_box_of_all_channels():
    images, _ = run(CutmixOperator(alpha=1.0), seed=3)
    for image, own in zip(images, range(6), strict=True):
        rows, columns = np.nonzero(image[0] != own)
        if len(rows):
            assert (image[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] != own).all()
            assert (image[0] == image[2]).all()


def test_rows_stay_probabilities_when_operators_follow_one_another():
    _, targets = run(MixupOperator(alpha=0.4), CutmixOperator(alpha=0.4))
    assert targets.shape == (6, 4)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    assert (targets >= 0).all()

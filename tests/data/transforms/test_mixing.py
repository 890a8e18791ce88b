"""FMix, OpSampler and MixupCutmixHybrid, with images that are each of one value."""

import numpy as np
import pytest
from support.drawing import DRAWS, assert_share, assert_uniform

from ppcls_compress.config.load import explain
from ppcls_compress.data.datasets import ImageNetDataset
from ppcls_compress.data.transforms import BATCH_TRANSFORMS
from ppcls_compress.data.transforms.batch import BatchPipeline
from ppcls_compress.errors import ConfigError

LABELS = np.array([0, 3, 1, 2], np.int64)
ONE_HOT = np.eye(4, dtype=np.float32)[LABELS]
IMAGES = np.broadcast_to(np.arange(1, 5, dtype=np.float32)[:, None, None, None], (4, 3, 8, 10))


def run(name, options, seed=0, labels=LABELS, images=IMAGES):
    op = BATCH_TRANSFORMS.get(name).model_validate(options)
    return BatchPipeline([op], class_num=4)(images.copy(), labels, np.random.default_rng(seed))


def test_identities_are_mixed_without_their_cameras():
    with_cameras = np.stack([LABELS, [7, 8, 7, 9]], axis=1)
    for one, other in zip(run("MixupOperator", {}, labels=with_cameras), run("MixupOperator", {}), strict=True):
        assert np.array_equal(one, other)


def kept_parts(images):
    """Of each image the part that is still its own, all channels alike."""
    assert (images == images[:, :1]).all()
    return (images[:, 0] == IMAGES[:, 0]).mean(axis=(1, 2))


@pytest.mark.parametrize("reformulate", [False, True])
def test_fmix_takes_from_another_image_where_a_picture_is_dark(reformulate):
    parts = []
    for seed in range(300):
        images, targets = run("FmixOperator", {"alpha": 1.0, "reformulate": reformulate}, seed=seed)
        rng = np.random.default_rng(seed)
        partner, weight = rng.permutation(4), rng.beta(1.0 + reformulate, 1.0)
        np.testing.assert_allclose(targets, weight * ONE_HOT + (1 - weight) * ONE_HOT[partner], atol=1e-6)
        for image, own, other in zip(images, IMAGES, IMAGES[partner], strict=True):
            assert ((image == own) | (image == other)).all()
        moved = partner != np.arange(4)
        if moved.any():
            assert np.abs(kept_parts(images)[moved] - weight).max() <= 1 / 80
        parts.append(weight)
    assert abs(np.mean(parts) - (2 / 3 if reformulate else 1 / 2)) < 0.1


def test_fmix_blends_over_a_soft_edge():
    images, _ = run("FmixOperator", {"max_soft": 0.3}, seed=2)
    between = (images != np.rint(images)).mean()
    assert 0.05 < between < 0.7
    hard, _ = run("FmixOperator", {}, seed=2)
    assert (hard == np.rint(hard)).all()


def test_fmix_masks_are_of_low_frequencies():
    smooth, rough = [], []
    for decay, found in ((3.0, smooth), (0.0, rough)):
        for seed in range(20):
            images, _ = run("FmixOperator", {"decay_power": decay}, seed=seed)
            found.append((images[:, 0, :, 1:] != images[:, 0, :, :-1]).mean())
    assert np.mean(smooth) < 0.6 * np.mean(rough)


def test_op_sampler_draws_one_or_none():
    counts = {"mixup": 0, "cutmix": 0, "none": 0}
    options = {"MixupOperator": {"alpha": 0.8, "prob": 0.5}, "CutmixOperator": {"alpha": 1.0, "prob": 0.2}}
    for seed in range(DRAWS):
        images, targets = run("OpSampler", options, seed=seed)
        np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-5)
        if (images == IMAGES).all() and (targets == ONE_HOT).all():
            counts["none"] += 1
        elif all(len(np.unique(image)) == 1 for image in images):
            counts["mixup"] += 1
        else:
            counts["cutmix"] += 1
    # Some mix with themselves, and some boxes are empty.
    assert_share(counts["mixup"] / DRAWS, 0.5 * 23 / 24)
    assert 0.12 < counts["cutmix"] / DRAWS < 0.22
    assert 0.28 < counts["none"] / DRAWS < 0.45


@pytest.mark.parametrize(
    ("options", "where", "text"),
    [
        ({"MixupOperator": {"prob": 0.7}, "CutmixOperator": {"prob": 0.7}}, "", "sum to 1.4, more than 1"),
        ({"MixupOperator": {"alpha": 1}}, "", "does nothing"),
        ({"MixupOperater": {"prob": 1}}, "", "did you mean 'MixupOperator'?"),
        ({"MixupOperator": {"alpha": 0, "prob": 1}}, ".MixupOperator.alpha", "greater than 0"),
        ({"CutmixOperator": {"probability": 1}}, ".CutmixOperator", "unknown key 'probability'"),
    ],
)
def test_an_op_sampler_that_cannot_work_is_refused(options, where, text):
    data = {
        "image_root": "a",
        "cls_label_path": "b",
        "transform_ops": ["DecodeImage"],
        "batch_transform_ops": [{"OpSampler": options}],
    }
    with pytest.raises(ValueError, match="validation error") as error:
        ImageNetDataset.model_validate(data)
    (line,) = explain(error.value, data, "yaml")
    assert f"batch_transform_ops.0.OpSampler{where}" in line
    assert text in line


def test_a_configuration_with_an_op_sampler_reads_back_equal():
    ops = [{"OpSampler": {"MixupOperator": {"alpha": 0.8, "prob": 0.5}, "CutmixOperator": {"alpha": 1, "prob": 0.5}}}]
    data = {"image_root": "a", "cls_label_path": "b", "transform_ops": ["DecodeImage"], "batch_transform_ops": ops}
    config = ImageNetDataset.model_validate(data)
    assert ImageNetDataset.model_validate(config.model_dump(mode="json")) == config


def hybrid(seed=0, **options):
    return run("MixupCutmixHybrid", {"num_classes": 4, **options}, seed=seed)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hybrid_mixup_blends_with_the_image_at_the_same_place_from_the_end(smoothing):
    weights = []
    smooth = ONE_HOT * (1 - smoothing) + smoothing / 4
    for seed in range(DRAWS):
        images, targets = hybrid(seed, mixup_alpha=1.0, label_smoothing=smoothing)
        weight = (images[0, 0, 0, 0] - 4) / (1 - 4)
        np.testing.assert_allclose(images, weight * IMAGES + (1 - weight) * IMAGES[::-1], atol=1e-5)
        np.testing.assert_allclose(targets, weight * smooth + (1 - weight) * smooth[::-1], atol=1e-5)
        weights.append(weight)
    assert_uniform(weights, 0, 1)  # Beta(1, 1)


def test_hybrid_cutmix_counts_the_box_as_it_was_cut_off():
    for seed in range(100):
        images, targets = hybrid(seed, mixup_alpha=0, cutmix_alpha=1.0, label_smoothing=0)
        kept = kept_parts(images)
        assert np.ptp(kept) == 0
        expected = kept[0] * ONE_HOT + (1 - kept[0]) * ONE_HOT[::-1]
        np.testing.assert_allclose(targets, expected, atol=1e-6)


def test_hybrid_without_correction_counts_the_box_as_it_was_drawn():
    differing = 0
    for seed in range(100):
        images, targets = hybrid(seed, mixup_alpha=0, cutmix_alpha=1.0, label_smoothing=0, correct_lam=False)
        differing += abs(kept_parts(images)[0] - targets[0, 0]) > 1e-3
    assert differing > 60


def test_hybrid_boxes_between_limits():
    heights = set()
    for seed in range(300):
        images, targets = hybrid(seed, mixup_alpha=0, cutmix_minmax=[0.25, 0.75], label_smoothing=0)
        rows, columns = np.nonzero(images[0, 0] != 1)
        heights.add(int(np.ptp(rows)) + 1)
        assert 2 <= np.ptp(columns) + 1 <= 6
        assert targets[0, 0] == pytest.approx(1 - len(rows) / 80)
    assert heights == {2, 3, 4, 5}


def test_hybrid_switches_between_the_two_and_leaves_some_batches_alone():
    counts = {"mixup": 0, "cutmix": 0, "none": 0}
    for seed in range(DRAWS):
        images, _ = hybrid(seed, mixup_alpha=1.0, cutmix_alpha=1.0, switch_prob=0.3, prob=0.8)
        if (images == IMAGES).all():
            counts["none"] += 1
        else:
            counts["mixup" if len(np.unique(images[0])) == 1 and (images != np.rint(images)).any() else "cutmix"] += 1
    assert_share(counts["mixup"] / DRAWS, 0.8 * 0.7)
    assert 0.2 <= counts["none"] / DRAWS < 0.3  # and boxes that are empty


@pytest.mark.parametrize("mode", ["elem", "pair"])
def test_hybrid_by_element_or_pair(mode):
    different = 0
    for seed in range(100):
        images, targets = hybrid(seed, mixup_alpha=1.0, mode=mode, label_smoothing=0)
        values = images[:, 0, 0, 0]
        weights = (values - [4, 3, 2, 1]) / np.array([-3, -1, 1, 3])
        expected = weights[:, None] * ONE_HOT + (1 - weights[:, None]) * ONE_HOT[::-1]
        np.testing.assert_allclose(targets, expected, atol=1e-4)
        np.testing.assert_allclose(weights[:2], weights[:1:-1], atol=1e-4) if mode == "pair" else None
        different += np.ptp(weights) > 0.05
    assert different > 80


def test_hybrid_takes_an_odd_batch():
    images = np.broadcast_to(np.arange(1, 4, dtype=np.float32)[:, None, None, None], (3, 3, 8, 10))
    for mode in ("batch", "pair", "elem"):
        options = {"num_classes": 4, "mode": mode, "label_smoothing": 0}
        mixed, targets = run("MixupCutmixHybrid", options, labels=LABELS[:3], images=images)
        assert (mixed[1] == 2).all() or mode == "elem"
        np.testing.assert_allclose(targets[1], ONE_HOT[1], atol=1e-6)


def test_hybrid_of_another_number_of_classes_is_refused():
    with pytest.raises(ConfigError, match="MixupCutmixHybrid.num_classes: found 1000, the network tells 4 classes"):
        run("MixupCutmixHybrid", {"num_classes": 1000})
    with pytest.raises(ValueError, match="mixes nothing"):
        hybrid(mixup_alpha=0)
    with pytest.raises(ValueError, match="low < high"):
        hybrid(cutmix_minmax=[0.5, 0.2])


def test_labels_of_attributes_are_mixed_as_they_are():
    attributes = np.array([[1, 0], [0, 0], [1, 1], [0, 1]], np.float32)
    given = attributes.copy()
    _, targets = run("MixupOperator", {"alpha": 1.0}, labels=given, seed=2)
    np.testing.assert_array_equal(given, attributes)
    rng = np.random.default_rng(2)
    partner, weight = rng.permutation(4), rng.beta(1.0, 1.0)
    assert (partner != np.arange(4)).any()
    np.testing.assert_allclose(targets, weight * attributes + (1 - weight) * attributes[partner], atol=1e-6)

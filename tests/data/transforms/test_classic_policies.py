"""AutoAugment, PaddleClas's RandAugments and AugMix: how often and how strongly each change is made."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from support.drawing import DRAWS, assert_share, result, results

from ppcls_compress.data.transforms import parse_transforms
from ppcls_compress.data.transforms.policies import augmix, autoaugment, classic
from ppcls_compress.data.transforms.policies.classic import CHANGES, Style
from ppcls_compress.data.transforms.policies.randaugment import RandAugmentV2

NOISE = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
PICTURE = Image.fromarray(NOISE)
NAMES = set(CHANGES) - {"solarize_add", "cutout"}


@pytest.fixture
def noted(monkeypatch):
    """The changes that are made, each a name, a magnitude and a style; the image stays as it is."""
    found = []

    def noting(name):
        def change(image, magnitude, style, rng):
            found.append((name, magnitude, style))
            return image

        return change

    monkeypatch.setattr(classic, "CHANGES", {name: noting(name) for name in CHANGES})
    return found


def drawn(noted, op):
    for _ in results(op, image=NOISE):
        pass
    return {name: {magnitude for other, magnitude, _ in noted if other == name} for name, _, _ in noted}


def test_autoaugment_draws_one_of_25_pairs(noted):
    found = drawn(noted, "AutoAugment")
    assert len(autoaugment.IMAGENET) == 25
    expected = [probability for pair in autoaugment.IMAGENET for probability, _, _ in pair]
    assert_share(len(noted) / (2 * DRAWS), np.mean(expected), 2 * DRAWS)
    for name, magnitudes in found.items():
        known = {
            (probability, autoaugment.MAGNITUDES[kind][number])
            for pair in autoaugment.IMAGENET
            for probability, kind, number in pair
            if kind == name
        }
        assert magnitudes <= {magnitude for _, magnitude in known}
        share = sum(p for pair in autoaugment.IMAGENET for p, kind, _ in pair if kind == name) / 25
        assert abs(sum(kind == name for kind, _, _ in noted) / DRAWS - share) < 0.09
    assert autoaugment.MAGNITUDES["posterize"][[8, 7, 6, 5][0]] == 4
    assert [int(autoaugment.MAGNITUDES["posterize"][n]) for n in (5, 6, 7, 8)] == [6, 5, 5, 4]


@pytest.mark.parametrize(("layers", "magnitude"), [(2, 5), (3, 10)])
def test_randaugment_always_makes_changes_of_one_magnitude(noted, layers, magnitude):
    found = drawn(noted, {"RandAugment": {"num_layers": layers, "magnitude": magnitude}})
    level = magnitude / 10
    assert len(noted) == layers * DRAWS
    assert set(found) == NAMES
    for name in NAMES:
        assert_share(sum(kind == name for kind, _, _ in noted) / (layers * DRAWS), 1 / 14, layers * DRAWS)
    assert found["shearX"] == {0.3 * level}
    assert found["translateX"] == {150 / 331 * level}
    assert found["rotate"] == {30 * level}
    assert found["color"] == {0.9 * level}
    assert found["posterize"] == {int(4 * level)}
    assert found["solarize"] == {256 * level}


@pytest.mark.parametrize("magnitude", [5.0, 15.0])
def test_randaugment_of_efficientnetv2(noted, magnitude):
    found = drawn(noted, {"RandAugmentV2": {"magnitude": magnitude}})
    level = magnitude / 10
    assert set(found) == set(CHANGES)
    assert found["translateY"] == {100 * level}
    assert found["contrast"] == {1.8 * level + 0.1}
    assert found["cutout"] == {int(40 * level)}
    assert found["solarize_add"] == {int(110 * level)}
    assert found["solarize"] == {int(256 * level)}
    (style,) = {style for _, _, style in noted}
    assert (style.in_pixels, style.both_ways, style.around_one) == (True, True, False)
    assert style.shear == Image.Resampling.NEAREST


def test_magnitudes_progress_with_the_run():
    options = RandAugmentV2(magnitude=5, progress_magnitude=[5.0, "25/3", "35/3", 15])
    found = [options.at(epoch, 8).magnitude for epoch in range(8)]
    assert found == pytest.approx([5, 5, 25 / 3, 25 / 3, 35 / 3, 35 / 3, 15, 15])


def test_randaugment_of_mobilevitv2(noted):
    found = drawn(noted, {"RandAugmentV3": {"num_layers": 2, "interpolation": "bicubic"}})
    assert set(found) == NAMES
    assert found["posterize"] == {8 - int(4 * 0.3)}
    assert found["solarize"] == {255 * (1 - 0.3)}
    (style,) = {style for _, _, style in noted}
    assert style.fill == style.turn_fill == (0, 0, 0)
    assert {style.shear, style.shift, style.turn} == {Image.Resampling.BICUBIC}
    assert style.both_ways


def test_randaugment_of_ml_decoder(noted):
    found = drawn(noted, "RandAugmentV4")
    assert set(found) == NAMES | {"cutout"}
    assert_share(len(noted) / (2 * DRAWS), 0.5, 2 * DRAWS)
    assert found["rotate"] == set(np.linspace(0, 30, 10)[1:])
    assert found["cutout"] == {2, 4, 7, 9, 11, 13, 16, 18, 20}
    assert {style.fill for name, _, style in noted if name == "cutout"} == {(0, 0, 0)}
    assert {style.fill for name, _, style in noted if name != "cutout"} == {(128, 128, 128)}


def moved(matrix, resample, fill):
    return PICTURE.transform((30, 30), Image.Transform.AFFINE, matrix, resample=resample, fillcolor=fill)


GREY = (128, 128, 128)
NEAREST, BICUBIC = Image.Resampling.NEAREST, Image.Resampling.BICUBIC


@pytest.mark.parametrize(
    ("name", "magnitude", "pictures"),
    [
        ("shearX", 0.2, [moved((1, sign * 0.2, 0, 0, 1, 0), BICUBIC, GREY) for sign in (-1, 1)]),
        ("shearY", 0.2, [moved((1, 0, 0, sign * 0.2, 1, 0), BICUBIC, GREY) for sign in (-1, 1)]),
        ("translateX", 0.3, [moved((1, 0, sign * 9, 0, 1, 0), NEAREST, GREY) for sign in (-1, 1)]),
        ("translateY", 0.3, [moved((1, 0, 0, 0, 1, sign * 9), NEAREST, GREY) for sign in (-1, 1)]),
        ("rotate", 20, [PICTURE.rotate(20, fillcolor=GREY)]),
        ("color", 0.4, [ImageEnhance.Color(PICTURE).enhance(1 + sign * 0.4) for sign in (-1, 1)]),
        ("contrast", 0.4, [ImageEnhance.Contrast(PICTURE).enhance(1 + sign * 0.4) for sign in (-1, 1)]),
        ("sharpness", 0.4, [ImageEnhance.Sharpness(PICTURE).enhance(1 + sign * 0.4) for sign in (-1, 1)]),
        ("brightness", 0.4, [ImageEnhance.Brightness(PICTURE).enhance(1 + sign * 0.4) for sign in (-1, 1)]),
        ("posterize", 3, [ImageOps.posterize(PICTURE, 3)]),
        ("solarize", 100, [ImageOps.solarize(PICTURE, 100)]),
        ("autocontrast", 0, [ImageOps.autocontrast(PICTURE)]),
        ("equalize", 0, [ImageOps.equalize(PICTURE)]),
        ("invert", 0, [ImageOps.invert(PICTURE)]),
    ],
)
def test_a_change_is_pillows_with_either_sign(name, magnitude, pictures):
    found = {CHANGES[name](NOISE, magnitude, Style(GREY), np.random.default_rng(seed)).tobytes() for seed in range(20)}
    assert found == {np.asarray(picture).tobytes() for picture in pictures}


def test_turning_with_a_transparent_border_is_turning_with_a_grey_one():
    """How PaddleClas writes it: turned with an alpha channel, and laid over grey."""
    turned = PICTURE.convert("RGBA").rotate(17)
    over = Image.composite(turned, Image.new("RGBA", turned.size, (128,) * 4), turned).convert("RGB")
    np.testing.assert_array_equal(CHANGES["rotate"](NOISE, 17, Style((0, 0, 0)), None), np.asarray(over))


@pytest.mark.parametrize(
    "op", ["AutoAugment", "RandAugment", "RandAugmentV2", "RandAugmentV3", "RandAugmentV4", "AugMix", "TimmAutoAugment"]
)
def test_a_policy_is_for_8_bit_pixels(op):
    with pytest.raises(ValueError, match=f"{op} needs 8-bit pixels; it must come before NormalizeImage"):
        parse_transforms(["DecodeImage", {"NormalizeImage": {"order": ""}}, op])
    tall = np.random.default_rng(1).integers(0, 256, (40, 21, 3), np.uint8)
    assert all(draw.shape == (40, 21, 3) for draw in results(op, image=tall, draws=20))


def test_augmix_mixes_half_of_the_images(monkeypatch):
    monkeypatch.setattr(augmix, "_CHANGES", (lambda image, level, rng: 255 - image,))
    options = {"prob": 0.5, "aug_prob_coeff": 1.0}
    shares, kept = [], 0
    for draw in results({"AugMix": options}, image=NOISE):
        share = np.polyfit(255 - 2.0 * NOISE.ravel(), draw.ravel() - NOISE.ravel() + 0.5, 1)[0]
        kept += np.array_equal(draw, NOISE)
        shares.append(share)
    assert_share(kept / DRAWS, 0.5)
    mixed = np.sort(shares)[kept:]
    assert abs(mixed.mean() - 0.5) < 5 / np.sqrt(12 * len(mixed))
    assert abs(mixed.std() - 1 / np.sqrt(12)) < 0.05


def test_augmix_draws_chains_of_changes(monkeypatch):
    made = []

    def noting(number):
        return lambda image, level, rng: (made.append((number, level)), image)[1]

    monkeypatch.setattr(augmix, "_CHANGES", tuple(noting(number) for number in range(9)))
    for _ in results({"AugMix": {"prob": 1, "aug_severity": 3}}, image=NOISE):
        pass
    assert len(made) == 3 * DRAWS
    levels = np.array([level for _, level in made])
    assert 0.01 <= levels.min() < 0.012
    assert 0.298 < levels.max() <= 0.3
    for number in range(9):
        assert_share(sum(other == number for other, _ in made) / (3 * DRAWS), 1 / 9, 3 * DRAWS)
    made.clear()
    for _ in results({"AugMix": {"prob": 1, "mixture_depth": -1, "mixture_width": 2}}, image=NOISE):
        pass
    assert abs(len(made) / DRAWS - 4) < 0.2


def test_augmix_changes_are_pillows():
    rng = np.random.default_rng
    bilinear = Image.Resampling.BILINEAR
    turned = {augmix._CHANGES[3](NOISE, 0.5, rng(seed)).tobytes() for seed in range(9)}
    assert turned == {np.asarray(PICTURE.rotate(sign * 15, resample=bilinear)).tobytes() for sign in (-1, 1)}
    for number, matrix in ((5, (1, 0.15, 0, 0, 1, 0)), (6, (1, 0, 0, 0.15, 1, 0)), (7, (1, 0, 5, 0, 1, 0))):
        found = {augmix._CHANGES[number](NOISE, 0.5, rng(seed)).tobytes() for seed in range(9)}
        signed = [[sign * value if value not in (1,) else value for value in matrix] for sign in (-1, 1)]
        pictures = [PICTURE.transform((30, 30), Image.Transform.AFFINE, each, resample=bilinear) for each in signed]
        assert found == {np.asarray(picture).tobytes() for picture in pictures}
    np.testing.assert_array_equal(augmix._CHANGES[2](NOISE, 0.5, None), np.asarray(ImageOps.posterize(PICTURE, 2)))
    np.testing.assert_array_equal(augmix._CHANGES[4](NOISE, 0.5, None), np.asarray(ImageOps.solarize(PICTURE, 128)))
    np.testing.assert_array_equal(result({"AugMix": {"prob": 0}}, image=NOISE), NOISE)

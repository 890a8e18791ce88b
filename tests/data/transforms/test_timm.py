"""timm's policies: what their strings say, and how often and how strongly each change is made."""

import numpy as np
import pytest
from PIL import Image
from support.drawing import DRAWS, assert_share, result, results

from ppcls_compress.config.load import explain
from ppcls_compress.data.datasets import ImageNetDataset
from ppcls_compress.data.transforms import parse_transforms
from ppcls_compress.data.transforms.policies import timm, timm_changes, timm_tables

NOISE = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)


@pytest.fixture
def noted(monkeypatch):
    """The changes that are made, each a name and its argument; the image stays as it is."""
    found = []

    def noting(name, change):
        def apply(image, value, settings, rng):
            found.append((name, value))
            return image

        return timm_changes.Change(change.argument, apply)

    changes = {name: noting(name, change) for name, change in timm_changes.CHANGES.items()}
    monkeypatch.setattr(timm_changes, "CHANGES", changes)
    return found


def drawn(noted, **options):
    for _ in results({"TimmAutoAugment": options}, image=NOISE):
        pass
    names = [name for name, _ in noted]
    return {name: np.array([value for other, value in noted if other == name]) for name in sorted(set(names))}


def test_the_usual_string_draws_two_of_fifteen_each_made_half_the_time(noted):
    found = drawn(noted, config_str="rand-m9-mstd0.5-inc1")
    assert set(found) == set(timm_tables.RANDOM_INCREASING)
    assert_share(len(noted) / (2 * DRAWS), 0.5, 2 * DRAWS)
    for values in found.values():
        assert_share(len(values) / (2 * DRAWS), 0.5 / 15, 2 * DRAWS)


def test_magnitudes_are_normal_around_the_given_one_and_at_most_ten(noted):
    found = drawn(noted, config_str="rand-m9-mstd0.5-inc1")
    for name, largest, around in (
        ("Rotate", 30, 0),
        ("ShearX", 0.3, 0),
        ("ShearY", 0.3, 0),
        ("TranslateXRel", 0.45, 0),
        ("TranslateYRel", 0.45, 0),
        ("ColorIncreasing", 0.9, 1),
        ("SharpnessIncreasing", 0.9, 1),
    ):
        levels = 10 * np.abs(found[name] - around) / largest
        assert 7 < levels.min() < 9
        assert 9 < levels.max() <= 10 + 1e-9
        assert abs(levels.mean() - 9) < 0.35
        assert 0.2 < np.mean(found[name] > around) < 0.8
    assert set(found["PosterizeIncreasing"]) <= {0, 1}
    assert 256 - 256 <= found["SolarizeIncreasing"].min() < found["SolarizeIncreasing"].max() < 256 - 0.7 * 256
    assert 0.7 * 110 < found["SolarizeAdd"].min() <= found["SolarizeAdd"].max() <= 110


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rand-m5", {"Rotate": {-15, 15}, "ShearX": {-0.15, 0.15}, "Posterize": {2}, "Solarize": {128}}),
        ("rand-m5", {"Color": {1.0}, "Sharpness": {1.0}, "SolarizeAdd": {55}, "TranslateXRel": {-0.225, 0.225}}),
        ("rand-m0", {"Color": {0.1}, "Posterize": {0}, "Solarize": {0}, "Rotate": {0}}),
        ("rand", {"Color": {1.9}, "Posterize": {4}, "Solarize": {256}, "Rotate": {-30, 30}, "Brightness": {1.9}}),
        ("rand-m5-inc1", {"ColorIncreasing": {0.55, 1.45}, "PosterizeIncreasing": {2}, "SolarizeIncreasing": {128}}),
        ("rand-m5-inc0", {"ContrastIncreasing": {0.55, 1.45}, "BrightnessIncreasing": {0.55, 1.45}}),
    ],
)
def test_arguments_without_deviation(noted, text, expected):
    found = drawn(noted, config_str=text)
    for name, values in expected.items():
        assert set(np.round(found[name], 9)) == values


def test_the_number_of_changes(noted):
    drawn(noted, config_str="rand-m9-n5")
    assert_share(len(noted) / (5 * DRAWS), 0.5, 5 * DRAWS)


def test_weights_draw_without_repetition(noted):
    found = drawn(noted, config_str="rand-m9-w0")
    assert "Posterize" not in found
    assert "Invert" not in found
    weights = dict(zip(timm_tables.RANDOM, timm_tables.WEIGHTS, strict=True))
    total = sum(weights.values())
    for name in ("Rotate", "ShearX", "TranslateXRel"):
        part = weights[name] / total
        second = sum(weights[other] / total * part / (1 - weights[other] / total) for other in weights if other != name)
        assert_share(len(found[name]) / DRAWS, (part + second) / 2)
    assert len(found["Rotate"]) > len(found["ShearX"]) > len(found["TranslateXRel"]) > len(found["Color"])


@pytest.mark.parametrize("name", ["original", "originalr", "v0", "v0r"])
def test_a_published_policy_draws_one_of_its_pairs(noted, name):
    policy = timm_tables.POLICIES[name]
    assert len(policy) == 25
    found = drawn(noted, config_str=name)
    assert_share(
        len(noted) / (2 * DRAWS), np.mean([probability for pair in policy for _, probability, _ in pair]), 2 * DRAWS
    )
    for change in found:
        expected = sum(probability for pair in policy for other, probability, _ in pair if other == change) / 25
        assert abs(len(found[change]) / DRAWS - expected) < 0.1
    assert any(change.startswith("Posterize") for change in found)


def test_the_kinds_of_posterizing(noted):
    assert set(drawn(noted, config_str="original")["PosterizeOriginal"]) == {4 + int(4 * m / 10) for m in (5, 6, 7, 8)}
    noted.clear()
    assert set(drawn(noted, config_str="v0")["Posterize"]) == {int(4 * m / 10) for m in (2, 6)}
    noted.clear()
    assert set(drawn(noted, config_str="v0r")["PosterizeIncreasing"]) == {4 - int(4 * m / 10) for m in (2, 6)}


@pytest.mark.parametrize(("text", "mean"), [("augmix-m5-w4-d2", 8), ("augmix", 6), ("augmix-m3-w2-d1-b1-a0.5", 2)])
def test_augmix_makes_every_change_of_its_chains(noted, text, mean):
    found = drawn(noted, config_str=text)
    assert set(found) == set(timm_tables.MIXED)
    assert len(noted) / DRAWS == mean if text != "augmix" else abs(len(noted) / DRAWS - mean) < 0.25
    largest = 0.3 * (0.5 if "m5" in text else 0.3)
    assert np.abs(found["TranslateXRel"]).max() == pytest.approx(largest)


def test_augmix_mixes_chains_with_the_image(monkeypatch):
    changed = 255 - NOISE
    monkeypatch.setattr(timm_changes, "CHANGES", dict.fromkeys(timm_tables.MIXED, timm_changes.CHANGES["Invert"]))
    for text in ("augmix-d1", "augmix-d1-b1"):
        for seed, draw in enumerate(results({"TimmAutoAugment": {"config_str": text}}, image=NOISE, draws=20)):
            rng = np.random.default_rng(seed)
            rng.random()  # of `prob`
            rng.dirichlet([1.0] * 3)
            share = rng.beta(1.0, 1.0)
            expected = (1 - share) * NOISE + share * changed.astype(float)
            assert np.abs(draw - expected).max() <= 4  # each of three blends cuts to whole numbers


def test_a_probability_of_changing_at_all(noted):
    drawn(noted, config_str="rand-m9-n2", prob=0.3)
    assert_share(len(noted) / (2 * DRAWS), 0.15, 2 * DRAWS)
    noted.clear()
    drawn(noted, prob=0.0)
    assert not noted


def test_without_a_policy_nothing_changes():
    np.testing.assert_array_equal(result({"TimmAutoAugment": {"config_str": None}}, image=NOISE), NOISE)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "random", None])
def test_interpolation_and_colour_of_what_comes_in(monkeypatch, interpolation):
    turn = timm_changes.CHANGES["Rotate"]
    monkeypatch.setattr(timm_changes, "CHANGES", dict.fromkeys(timm_tables.RANDOM, turn))
    options = {"config_str": "rand-m10-n1", "interpolation": interpolation, "mean": [0.5, 0.2, 1.0]}
    kinds = ["bilinear", "bicubic"] if interpolation in ("random", None) else [interpolation]
    known = {
        np.asarray(Image.fromarray(NOISE).rotate(angle, Image.Resampling[kind.upper()], fillcolor=(128, 51, 255)))
        .astype(np.float32)
        .tobytes()
        for kind in kinds
        for angle in (-30, 30)
    }
    found = {draw.tobytes() for draw in results({"TimmAutoAugment": options}, image=NOISE, draws=60)}
    assert found == known | {NOISE.astype(np.float32).tobytes()}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rnad-m9", "unknown policy 'rnad'; did you mean 'rand'?"),
        ("rand-x9", "unknown key of rand 'x'"),
        ("rand-m", "'m' has no number; m takes a whole number"),
        ("rand-m9.5", "'m9.5' has no number"),
        ("rand-m11", "m is from 0 to 10"),
        ("rand-n0", "n is from 1 to 100"),
        ("original-m9", "unknown key of original 'm'"),
        ("augmix-mstd", "mstd takes a number"),
        ("augmix-w0", "w is from 1 to 100"),
        ("rand-w1", "w is from 0 to 0"),
        (7, "expected a valid string"),
    ],
)
def test_what_a_string_cannot_say_is_told(text, problem):
    data = {
        "image_root": "a",
        "cls_label_path": "b",
        "transform_ops": ["DecodeImage", {"TimmAutoAugment": {"config_str": text}}],
    }
    with pytest.raises(ValueError, match="validation error") as error:
        ImageNetDataset.model_validate(data)
    (line,) = explain(error.value, data, "yaml")
    assert "1.TimmAutoAugment.config_str" in line
    assert problem in line


def test_numbers_of_a_string():
    assert timm.parse("rand-m7-mstd0.5-inc1").numbers == {"m": 7, "mstd": 0.5, "inc": 1}
    assert timm.parse("augmix-m5-w4-d2").numbers == {"m": 5, "w": 4, "d": 2}
    assert timm.parse("original-mstd0.5").name == "original"


def test_the_image_is_changed_as_pillow_does():
    """Each change of the usual policy, with the arguments that were drawn, by Pillow."""
    photo = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    rng = np.random.default_rng(0)
    settings = timm_changes.Settings((124, 116, 104), (Image.Resampling.BICUBIC,))
    for sign in (-1, 1):
        change = timm_changes.CHANGES["ShearX"]
        expected = Image.fromarray(photo).transform(
            (40, 40),
            Image.Transform.AFFINE,
            (1, sign * 0.27, 0, 0, 1, 0),
            resample=Image.Resampling.BICUBIC,
            fillcolor=(124, 116, 104),
        )
        np.testing.assert_array_equal(change.apply(photo, sign * 0.27, settings, rng), np.asarray(expected))
        shift = timm_changes.CHANGES["TranslateYRel"]
        expected = Image.fromarray(photo).transform(
            (40, 40),
            Image.Transform.AFFINE,
            (1, 0, 0, 0, 1, sign * 0.405 * 40),
            resample=Image.Resampling.BICUBIC,
            fillcolor=(124, 116, 104),
        )
        np.testing.assert_array_equal(shift.apply(photo, sign * 0.405, settings, rng), np.asarray(expected))


def test_img_size_has_no_say_in_any_policy(noted):
    found = [drawn(noted, img_size=size)["TranslateXRel"] for size in ([192, 256], 32)]
    assert np.abs(found[0]).max() <= 0.45
    np.testing.assert_array_equal(found[0], found[1][: len(found[0])])
    assert parse_transforms(["DecodeImage", {"TimmAutoAugment": {"img_size": [192, 256]}}])

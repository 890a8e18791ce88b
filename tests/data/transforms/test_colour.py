import numpy as np
import pytest
from PIL import Image, ImageEnhance
from support.drawing import DRAWS, assert_share, assert_uniform, result, results

from ppcls_compress.data.transforms import colour, parse_transforms, pixels

NOISE = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
CHANGES = ("brightness", "contrast", "colour", "hue")


@pytest.fixture
def noted(monkeypatch):
    """The changes that are asked for, each a name and a factor; none is made."""
    found = []
    for name in CHANGES:
        monkeypatch.setattr(pixels, name, lambda image, factor, name=name: (found.append((name, factor)), image)[1])
    return found


@pytest.mark.parametrize("name", ["RawColorJitter", "ColorJitter"])
def test_jitter_draws_each_factor_uniformly_in_random_order(noted, name):
    orders = set()
    for draw in results({name: {"brightness": 0.4, "contrast": [0.5, 2], "saturation": 1.5, "hue": 0.1}}, image=NOISE):
        np.testing.assert_array_equal(draw, NOISE)
        orders.add(tuple(kind for kind, _ in noted[-4:]))
    assert len(noted) == 4 * DRAWS
    assert len(orders) == 24
    ranges = {"brightness": (0.6, 1.4), "contrast": (0.5, 2), "colour": (0, 2.5), "hue": (-0.1, 0.1)}
    for kind, (low, high) in ranges.items():
        assert_uniform([factor for other, factor in noted if other == kind], low, high)


def test_jitter_leaves_out_what_is_not_asked_for(noted):
    for _ in results({"ColorJitter": {"brightness": 0.4, "hue": 0}}, image=NOISE, draws=20):
        pass
    assert {kind for kind, _ in noted} == {"brightness"}


def test_jitter_with_a_probability(noted):
    for _ in results({"ColorJitter": {"prob": 0.2, "saturation": 0.5}}, image=NOISE):
        pass
    assert_share(len(noted) / DRAWS, 0.2)


def test_jitter_is_pillows():
    factor = 1.3
    op = {"ColorJitter": {"brightness": [factor, factor]}}
    expected = ImageEnhance.Brightness(Image.fromarray(NOISE)).enhance(factor)
    np.testing.assert_array_equal(result(op, image=NOISE), np.asarray(expected))


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"brightness": -1}, "Input should be a valid tuple"),
        ({"contrast": [2, 1]}, "low <= high"),
        ({"hue": 0.6}, "from 0 to 0.5"),
    ],
)
def test_what_no_jitter_can_be_is_refused(option, text):
    with pytest.raises(ValueError, match=text):
        parse_transforms(["DecodeImage", {"ColorJitter": option}])


def test_random_grayscale_is_pillows_luma():
    grey = np.asarray(Image.fromarray(NOISE).convert("L"))
    count = 0
    for draw in results({"RandomGrayscale": {"p": 0.2}}, image=NOISE):
        changed = not np.array_equal(draw, NOISE)
        count += changed
        if changed:
            np.testing.assert_array_equal(draw, np.repeat(grey[:, :, None], 3, axis=2))
    assert_share(count / DRAWS, 0.2)


def test_pca_lighting_adds_a_normal_multiple_of_each_component():
    grey = np.full((2, 2, 3), 128, np.uint8)
    # The draws with many more levels of grey: every value takes part, cut to whole numbers, so means come close.
    ramp = np.arange(100, 156, dtype=np.uint8).reshape(7, 8, 1).repeat(3, axis=2)
    shifts = [(draw - ramp).mean(axis=(0, 1)) for draw in results("PCALighting", image=ramp)]
    components = np.linalg.solve(colour._EIGENVECTORS * colour._EIGENVALUES * 255, np.array(shifts).T + 0.5)
    assert np.abs(components.mean(axis=1)).max() < 0.1
    assert 0.09 < components[0].std() < 0.11
    assert all(len(np.unique(draw.reshape(-1, 3), axis=0)) == 1 for draw in results("PCALighting", image=grey, draws=5))


def test_pca_lighting_stays_inside_the_range():
    for value in (0, 255):
        flat = np.full((2, 2, 3), value, np.uint8)
        draws = np.array(list(results("PCALighting", image=flat, draws=100)))
        assert draws.min() >= 0
        assert draws.max() <= 255
        assert (draws == value).any()
        assert (draws != value).any()

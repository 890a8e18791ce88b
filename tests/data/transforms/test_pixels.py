"""Changes of pixels are Pillow's, bit for bit."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from support.photos import photograph

from ppcls_compress.data.transforms import pixels

PHOTO = photograph(0)[100:260, 80:300]
NOISE = np.random.default_rng(0).integers(0, 256, (23, 31, 3), np.uint8)
DULL = (PHOTO // 3 + 40).astype(np.uint8)
FLAT = np.full((9, 8, 3), 77, np.uint8)
FEW = np.where(NOISE < 200, np.uint8(9), np.uint8(90))
IMAGES = {"photo": PHOTO, "noise": NOISE, "dull": DULL, "flat": FLAT, "few": FEW}


def pil(image):
    return Image.fromarray(image)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize(
    ("function", "by_pillow"),
    [
        (pixels.invert, ImageOps.invert),
        (pixels.autocontrast, ImageOps.autocontrast),
        (pixels.equalize, ImageOps.equalize),
    ],
)
def test_changes_without_a_number(name, function, by_pillow):
    np.testing.assert_array_equal(function(IMAGES[name]), np.asarray(by_pillow(pil(IMAGES[name]))))


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("factor", [0, 0.1, 0.55, 1, 1.37, 1.9, 4])
def test_enhancing(name, factor):
    image = IMAGES[name]
    for function, kind in (
        (pixels.brightness, ImageEnhance.Brightness),
        (pixels.contrast, ImageEnhance.Contrast),
        (pixels.colour, ImageEnhance.Color),
        (pixels.sharpness, ImageEnhance.Sharpness),
    ):
        np.testing.assert_array_equal(function(image, factor), np.asarray(kind(pil(image)).enhance(factor)))


def test_a_thousand_factors_round_as_pillow_does():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    for factor in np.random.default_rng(0).uniform(0, 2.5, 1000):
        for function, kind in ((pixels.brightness, ImageEnhance.Brightness), (pixels.contrast, ImageEnhance.Contrast)):
            np.testing.assert_array_equal(function(ramp, factor), np.asarray(kind(pil(ramp)).enhance(factor)))


@pytest.mark.parametrize("threshold", [0, 1, 76.8, 128, 255, 256])
def test_solarize(threshold):
    np.testing.assert_array_equal(
        pixels.solarize(PHOTO, threshold), np.asarray(ImageOps.solarize(pil(PHOTO), threshold))
    )


@pytest.mark.parametrize("addend", [0, 1, 55, 110, 200])
def test_solarize_add(addend):
    expected = np.where(PHOTO < 128, np.minimum(PHOTO.astype(int) + addend, 255), PHOTO)
    np.testing.assert_array_equal(pixels.solarize_add(PHOTO, addend), expected)


def test_posterize():
    for bits in range(1, 9):
        np.testing.assert_array_equal(pixels.posterize(PHOTO, bits), np.asarray(ImageOps.posterize(pil(PHOTO), bits)))
    assert not pixels.posterize(PHOTO, 0).any()


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.21, 0.5])
def test_hue(turn):
    h, s, v = pil(PHOTO).convert("HSV").split()
    turned = ((np.asarray(h).astype(int) + int(turn * 255)) % 256).astype(np.uint8)
    expected = Image.merge("HSV", (pil(turned), s, v)).convert("RGB")
    np.testing.assert_array_equal(pixels.hue(PHOTO, turn), np.asarray(expected))


RESAMPLING = [Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC]
# Moves by whole pixels and by parts, either way, by more than the image; shears; both at once; a turn; an enlargement.
MATRICES = [
    (1, 0, 0, 0, 1, 0),
    (1, 0, 12, 0, 1, 0),
    (1, 0, -7.3, 0, 1, 0),
    (1, 0, 0, 0, 1, 33.71),
    (1, 0, 0, 0, 1, -900),
    (1, 0, 0.5, 0, 1, 0),
    (1, 0.27, 0, 0, 1, 0),
    (1, -0.3, 0, 0, 1, 0),
    (1, 0, 0, 0.2, 1, 0),
    (1, 0, 0, -0.123, 1, 0),
    (1, 0.1, 3, 0.2, 1, -4),
    (0.9, -0.1, 5, 0.1, 0.9, 2),
]


@pytest.mark.parametrize("resample", RESAMPLING)
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("name", IMAGES)
def test_affine(name, matrix, resample):
    image, fill = IMAGES[name], (124, 116, 104)
    expected = pil(image).transform(pil(image).size, Image.Transform.AFFINE, matrix, resample=resample, fillcolor=fill)
    np.testing.assert_array_equal(pixels.affine(image, matrix, resample, fill), np.asarray(expected))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3), (40_000, 2), (3, 40_000)])
@pytest.mark.parametrize("matrix", [(1, 0.3, -0.4, 0, 1, 0), (1, 0, 0, 0.3, 1, 0.6), (1, 0, 60_000, 0, 1, 0)])
def test_moving_tiny_and_long_images(shape, matrix):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    expected = pil(image).transform(
        pil(image).size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BICUBIC, fillcolor=(1, 2, 3)
    )
    found = pixels.affine(image, matrix, Image.Resampling.BICUBIC, (1, 2, 3))
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_a_thousand_moves_are_pillows():
    rng = np.random.default_rng(0)
    for _ in range(1000):
        image = rng.integers(0, 256, (*rng.integers(1, 24, 2), 3), np.uint8)
        by, across = rng.uniform(-0.5, 0.5), rng.uniform(-20, 20)
        matrix = [(1, by, across, 0, 1, 0), (1, 0, 0, by, 1, across)][rng.integers(2)]
        expected = pil(image).transform(
            pil(image).size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BICUBIC, fillcolor=(1, 2, 3)
        )
        found = pixels.affine(image, matrix, Image.Resampling.BICUBIC, (1, 2, 3))
        np.testing.assert_array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("resample", RESAMPLING)
@pytest.mark.parametrize("degrees", [0, 17.3, -30, 90])
def test_rotate(degrees, resample):
    expected = pil(PHOTO).rotate(degrees, resample=resample, fillcolor=(1, 2, 3))
    np.testing.assert_array_equal(pixels.rotate(PHOTO, degrees, resample, (1, 2, 3)), np.asarray(expected))


def test_cutout_is_a_square_around_a_centre_on_the_image():
    image = np.zeros((20, 30, 3), np.uint8)
    rows, columns = set(), set()
    for seed in range(400):
        cut = pixels.cutout(image, 3, (9, 9, 9), np.random.default_rng(seed)) == 9
        assert cut.all(axis=2).sum() == cut.any(axis=2).sum() <= 36
        down, across = cut.any(axis=(1, 2)).sum(), cut.any(axis=(0, 2)).sum()
        assert cut[..., 0].sum() == down * across
        rows.add(int(down)), columns.add(int(across))
    assert rows == columns == {3, 4, 5, 6}
    assert not image.any()

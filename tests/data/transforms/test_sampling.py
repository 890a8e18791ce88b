import cv2
import numpy as np
import pytest
from PIL import Image
from support.drawing import DRAWS, assert_share, coordinates, result, results

from ppcls_compress.data.transforms import parse_transforms

NOISE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
PLACES = coordinates(200, 250)
BY_PILLOW = {"backend": "pil", "to_np": False}


def cuts(op, image=PLACES, decode=None):
    """Top, left, height and width of the crops that were resized to 2 x 2 pixels by the nearest one."""
    found = []
    for draw in results(op, image=image, decode=decode):
        top, left = draw[0, 0, :2]
        found.append((top, left, 2 * (draw[1, 0, 0] - top), 2 * (draw[0, 1, 1] - left)))
    return np.array(found).T


@pytest.mark.parametrize("log", [False, True])
def test_rand_crop_image_draws_area_and_aspect_ratio(log):
    op = {"size": 2, "scale": [0.1, 0.4], "ratio": [0.5, 2.0], "interpolation": "nearest", "use_log_aspect": log}
    _, _, height, width = cuts({"RandCropImage": op})
    area, aspect = height * width / (200 * 250), width / height
    assert 0.09 < area.min() < 0.11
    assert 0.38 < area.max() < 0.41
    assert abs(area.mean() - 0.25) < 0.02
    assert 0.48 < aspect.min() < 0.55
    assert 1.85 < aspect.max() < 2.08
    # Half of the logarithms are below that of 1; of the ratios themselves a third.
    assert_share((aspect < 1).mean(), 1 / 2 if log else 1 / 3, DRAWS // 2)


def test_rand_crop_image_shrinks_a_part_that_is_larger_than_the_image_at_its_shape():
    _, _, height, width = cuts({"RandCropImage": {"size": 2, "scale": [1, 1], "interpolation": "nearest"}})
    aspect = width / height
    assert ((height >= 197) | (width >= 247)).all()
    assert aspect.min() >= 0.72
    assert aspect.max() <= 1.38


def test_random_resized_crop_is_paddles():
    op = {"size": 2, "scale": [0.2, 0.5], "ratio": [0.75, 4 / 3], "interpolation": "nearest"}
    top, left, height, width = cuts({"RandomResizedCrop": op})
    area, aspect = height * width / (200 * 250), width / height
    assert 0.18 < area.min() < 0.22
    assert 0.47 < area.max() < 0.52
    assert_share((aspect < 1).mean(), 0.5, DRAWS // 2)
    assert top.min() == left.min() == 0
    assert (top + height).max() >= 198
    assert (left + width).max() >= 248


@pytest.mark.parametrize("shape", [(10, 100), (100, 10), (40, 40)])
def test_random_resized_crop_takes_the_middle_where_no_part_fits(shape):
    rows, columns = shape
    height, width = min(rows, round(columns / 0.75)), min(columns, round(rows * 4 / 3))
    top, left = (rows - height) // 2, (columns - width) // 2
    places = coordinates(rows, columns)
    op = {"size": [height, width], "scale": [1, 1], "interpolation": "nearest"}
    part = places[top : top + height, left : left + width]
    found = [np.array_equal(draw, part) for draw in results({"RandomResizedCrop": op}, image=places, draws=50)]
    assert all(found) if shape != (40, 40) else any(found)


@pytest.mark.parametrize("size", [20, 60, 75, [30, 45]])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resize_is_height_and_width_or_the_short_side_cut_to_whole_pixels(size, interpolation):
    height, width = (size, int(size * 90 / 60)) if isinstance(size, int) else size
    op = {"Resize": {"size": size, "interpolation": interpolation}}
    code = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[interpolation]
    np.testing.assert_array_equal(result(op, image=NOISE), cv2.resize(NOISE, (width, height), interpolation=code))
    # Where PaddleClas holds its images as Pillow's, Paddle resizes with Pillow.
    by_pillow = Image.fromarray(NOISE).resize((width, height), Image.Resampling[interpolation.upper()])
    np.testing.assert_array_equal(result(op, image=NOISE, decode=BY_PILLOW), np.asarray(by_pillow))


def test_the_short_side_of_a_tall_image():
    assert result({"Resize": {"size": 20}}, image=NOISE[:, :50]).shape == (24, 20, 3)


def test_which_library_paddles_transforms_use():
    ops = [{"ResizeImage": {"size": [80, 70], "backend": "pil", "return_numpy": False}}, {"Resize": {"size": [30, 40]}}]
    pictures = Image.fromarray(NOISE).resize((80, 70), Image.Resampling.BICUBIC)
    expected = pictures.resize((40, 30), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(result(*ops, image=NOISE), np.asarray(expected))
    ops[0]["ResizeImage"]["return_numpy"] = True
    expected = cv2.resize(np.asarray(pictures), (40, 30))
    np.testing.assert_array_equal(result(*ops, image=NOISE), expected)
    with pytest.raises(ValueError, match="unknown interpolation of backend cv2 'box'"):
        parse_transforms(["DecodeImage", {"Resize": {"size": 3, "interpolation": "box"}}])
    assert parse_transforms([{"DecodeImage": BY_PILLOW}, {"Resize": {"size": 3, "interpolation": "box"}}])


@pytest.mark.parametrize(("size", "pad"), [(32, 8), (48, 0), (16, 100)])
def test_crop_image_at_ratio(size, pad):
    side = int(size / (size + pad) * 60)
    top, left = (60 - side) // 2, (90 - side) // 2
    expected = cv2.resize(NOISE[top : top + side, left : left + side], (size, size))
    np.testing.assert_array_equal(result({"CropImageAtRatio": {"size": size, "pad": pad}}, image=NOISE), expected)


def test_crop_with_padding_keeps_a_part_in_its_place():
    image = np.full((40, 50, 3), 200, np.uint8)
    op = {"CropWithPadding": {"prob": 0.3, "padding_num": 9, "scale": [0.2, 0.6]}}
    kept, parts = 0, []
    for draw in results(op, image=image):
        if (draw == 200).all():
            kept += 1
            continue
        assert set(np.unique(draw)) == {9, 200}
        rows, columns = np.nonzero(draw[..., 0] == 200)
        down, across = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == down * across
        parts.append(len(rows) / 2000)
    assert_share(kept / DRAWS, 0.7)
    assert 0.18 < min(parts) < 0.25
    assert 0.54 < max(parts) < 0.63


def test_random_interpolation_makes_some_images_small_and_large_again():
    found = [
        np.array_equal(draw, NOISE) for draw in results({"RandomInterpolationAugment": {"prob": 0.2}}, image=NOISE)
    ]
    assert_share(np.mean(found), 0.8)
    codes = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
    flat = np.full((5, 4, 3), 7, np.uint8)
    assert (result({"RandomInterpolationAugment": {"prob": 1}}, image=flat) == 7).all()
    small = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
    known = {
        cv2.resize(cv2.resize(small, (side, side), interpolation=down), (6, 4), interpolation=up)
        .astype(np.float32)
        .tobytes()
        for side in range(1, 5)
        for down in codes
        for up in codes
    }
    draws = {draw.tobytes() for draw in results({"RandomInterpolationAugment": {"prob": 1}}, image=small)}
    assert draws <= known
    assert len(draws) > len(known) / 2


def test_an_interval_is_checked():
    for op in ({"RandCropImage": {"size": 2, "scale": [0, 1]}}, {"RandomResizedCrop": {"size": 2, "ratio": [2, 1]}}):
        with pytest.raises(ValueError, match="low <= high"):
            parse_transforms(["DecodeImage", op])

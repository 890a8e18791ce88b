import cv2
import numpy as np
import pytest
from support.drawing import assert_uniform, coordinates, result, results

from ppcls_compress.data.transforms import parse_transforms
from ppcls_compress.errors import UserError

NOISE = np.random.default_rng(0).integers(0, 256, (21, 34, 3), np.uint8)
PLACES = coordinates(21, 34)


@pytest.mark.parametrize("size", [8, [9, 7], [10, 7]])
def test_center_crop_is_height_and_width_and_rounds_half_to_even(size):
    height, width = (size, size) if isinstance(size, int) else size
    top, left = round((21 - height) / 2), round((34 - width) / 2)
    expected = NOISE[top : top + height, left : left + width]
    np.testing.assert_array_equal(result({"CenterCrop": {"size": size}}, image=NOISE), expected)


def test_random_crop_is_height_and_width_and_uniform():
    corners = [draw[0, 0, :2] for draw in results({"RandomCrop": {"size": [10, 30]}}, image=PLACES)]
    assert_uniform([corner[0] for corner in corners], 0, 11)
    assert {int(corner[1]) for corner in corners} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("padding", "sides"), [(2, (2, 2, 2, 2)), ([1, 3], (3, 3, 1, 1)), ([1, 2, 3, 4], (2, 4, 1, 3))]
)
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_padding_of_each_side(padding, sides, mode):
    top, bottom, left, right = sides
    expected = np.pad(NOISE, ((top, bottom), (left, right), (0, 0)), mode=mode)
    op = {"padding": padding, "padding_mode": mode}
    np.testing.assert_array_equal(result({"Pad_paddle_vision": op}, image=NOISE), expected)
    cropped = {"size": list(expected.shape[:2]), **op}
    np.testing.assert_array_equal(result({"RandomCrop": cropped}, image=NOISE), expected)


def test_random_crop_pads_what_a_small_image_lacks_on_both_sides():
    found = list(results({"RandomCrop": {"size": [25, 20], "pad_if_needed": True, "fill": 9}}, image=NOISE, draws=50))
    padded = np.pad(NOISE, ((4, 4), (0, 0), (0, 0)), constant_values=9)
    windows = [padded[top : top + 25, left : left + 20] for top in range(5) for left in range(15)]
    known = {window.astype(np.float32).tobytes() for window in windows}
    assert {draw.tobytes() for draw in found} <= known
    with pytest.raises(UserError, match="RandomCrop of 20x25 does not fit into an image of 34x21"):
        result({"RandomCrop": {"size": [25, 20]}}, image=NOISE)


def canvas(height, width, fill, top, left):
    expected = np.full((height, width, 3), fill, np.float32)
    expected[top : top + 21, left : left + 34] = NOISE
    return expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"size": [40, 30], "pad_mode": 1, "fill_value": 0}, canvas(30, 40, 0, 4, 3)),
        ({"size": 40}, canvas(40, 40, 127.5, 0, 0)),
        ({"size": [40, 30], "pad_mode": 2, "fill_value": [1, 2, 3]}, canvas(30, 40, (1, 2, 3), 9, 6)),
        ({"size": [40, 30], "pad_mode": -1, "offsets": [5, 2], "fill_value": 7}, canvas(30, 40, 7, 2, 5)),
        ({"size_divisor": 16, "fill_value": 1}, canvas(32, 48, 1, 0, 0)),
        ({"size": [34, 21]}, NOISE),
    ],
)
def test_padv2_to_a_size(options, expected):
    np.testing.assert_array_equal(result({"Padv2": options}, image=NOISE), expected)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": [30, 30]}, "Padv2 to 30x30 has no room for an image of 34x21"),
        (
            {"size": [40, 30], "pad_mode": -1, "offsets": [7, 0]},
            r"image of 34x21 \(width x height\) at offsets \[7, 0\]",
        ),
    ],
)
def test_padv2_without_room_says_so(options, text):
    with pytest.raises(UserError, match=text):
        result({"Padv2": options}, image=NOISE)


def test_padv2_by_offsets_needs_them():
    with pytest.raises(ValueError, match="offsets, which are not given"):
        parse_transforms(["DecodeImage", {"Padv2": {"size": 40, "pad_mode": -1}}])


def test_whole_values_leave_8_bit_pixels_that_policies_take():
    ops = ["DecodeImage", {"Padv2": {"size": 40, "fill_value": 0}}, "TimmAutoAugment"]
    assert len(parse_transforms(ops)) == 3
    ops[1] = {"Padv2": {"size": 40}}
    with pytest.raises(ValueError, match="TimmAutoAugment needs 8-bit pixels; it must come before Padv2"):
        parse_transforms(ops)


def test_pad_with_a_reflection_is_that_of_opencv():
    expected = cv2.copyMakeBorder(NOISE, 4, 4, 4, 4, cv2.BORDER_REFLECT_101)
    op = {"Pad_paddle_vision": {"padding": 4, "padding_mode": "reflect"}}
    np.testing.assert_array_equal(result(op, image=NOISE), expected)
    with pytest.raises(UserError, match="Pad_paddle_vision cannot reflect 21 pixels"):
        result({"Pad_paddle_vision": {"padding": [0, 21], "padding_mode": "reflect"}}, image=NOISE)

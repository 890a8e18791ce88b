import cv2
import numpy as np
import pytest
from PIL import Image

from ppcls_compress.data.transforms import TRANSFORMS, Transform, parse_transforms
from ppcls_compress.data.transforms.pipeline import build_pipeline
from ppcls_compress.errors import UserError

RED_FIRST = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
PNG = cv2.imencode(".png", RED_FIRST[:, :, ::-1])[1].tobytes()


def run(*ops, image=PNG, seed=None):
    rng = None if seed is None else np.random.default_rng(seed)
    return build_pipeline(parse_transforms(["DecodeImage", *ops]))(image, rng)


def red_first(result):
    return result.transpose(1, 2, 0)


def test_every_transform_has_a_step():
    lacking = [name for name in TRANSFORMS if TRANSFORMS.get(name).step is Transform.step]
    assert lacking == ["DecodeImage"]


@pytest.mark.parametrize("ops", [[], ["ToCHWImage"]])
def test_the_result_is_float32_chw_with_or_without_the_last_step(ops):
    result = run(*ops)
    assert result.dtype == np.float32
    assert result.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(red_first(result), RED_FIRST)


def test_a_decoded_image_is_blue_first_as_cv2_reads_it():
    np.testing.assert_array_equal(run(image=np.ascontiguousarray(RED_FIRST[:, :, ::-1])), run())
    with pytest.raises(UserError, match=r"expected an image uint8 \[H, W, 3\], found uint8 \[20, 30\]"):
        run(image=RED_FIRST[:, :, 0])


def test_normalize_equals_the_formula_bit_for_bit():
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    expected = (RED_FIRST.astype(np.float32) * np.float32(1 / 255) - mean) / std
    np.testing.assert_array_equal(red_first(run({"NormalizeImage": {"order": ""}})), expected)
    np.testing.assert_array_equal(red_first(run("ToCHWImage", {"NormalizeImage": {"order": "chw"}})), expected)


def test_normalize_uses_its_own_numbers():
    options = {"scale": "2*0.5", "mean": [1, 2, 3], "std": [2, 4, 8], "order": "hwc"}
    np.testing.assert_allclose(red_first(run({"NormalizeImage": options})), (RED_FIRST - [1.0, 2, 3]) / [2, 4, 8])


@pytest.mark.parametrize("order", ["hwc", "chw"])
def test_normalize_to_four_channels_adds_zeros(order):
    ops = ["ToCHWImage"] if order == "chw" else []
    result = run(*ops, {"NormalizeImage": {"order": order, "channel_num": 4}})
    assert result.shape == (4, 20, 30)
    assert not result[3].any()
    np.testing.assert_array_equal(result[:3], run({"NormalizeImage": {"order": ""}}))


@pytest.mark.parametrize(("name", "code"), [(None, cv2.INTER_LINEAR), ("area", cv2.INTER_AREA), ("lanczos", 4)])
def test_resize_by_opencv(name, code):
    expected = cv2.resize(RED_FIRST, (12, 9), interpolation=code)
    np.testing.assert_array_equal(red_first(run({"ResizeImage": {"size": [12, 9], "interpolation": name}})), expected)


@pytest.mark.parametrize("name", [None, "box", "bilinear"])
def test_resize_by_pillow(name):
    code = Image.Resampling.BICUBIC if name is None else Image.Resampling[name.upper()]
    expected = np.asarray(Image.fromarray(RED_FIRST).resize((12, 9), code))
    op = {"ResizeImage": {"size": [12, 9], "interpolation": name, "backend": "pil"}}
    np.testing.assert_array_equal(red_first(run(op)), expected)


def test_random_interpolation_draws_both():
    op = {"ResizeImage": {"size": [12, 9], "interpolation": "random"}}
    found = {run(op, seed=seed).tobytes() for seed in range(8)}
    bilinear, bicubic = (
        run({"ResizeImage": {"size": [12, 9], "interpolation": name}}) for name in ("bilinear", "bicubic")
    )
    assert found == {bilinear.tobytes(), bicubic.tobytes()}


def test_resize_short_keeps_the_aspect_ratio():
    assert run({"ResizeImage": {"resize_short": 10}}).shape == (3, 10, 15)
    assert run({"ResizeImage": {"resize_short": 33}}).shape == (3, 33, 50)


def test_crop_takes_the_centre_and_a_list_is_width_height():
    np.testing.assert_array_equal(red_first(run({"CropImage": {"size": 10}})), RED_FIRST[5:15, 10:20])
    assert run({"CropImage": {"size": [4, 6]}}).shape == (3, 6, 4)


@pytest.mark.parametrize("name", ["CropImage", "RandCropImageV2", "RandomCropImage"])
def test_a_crop_larger_than_the_image_says_so(name):
    with pytest.raises(UserError, match=f"{name} of 31x3 does not fit into an image of 30x20"):
        run({name: {"size": [31, 3]}}, seed=0)


@pytest.mark.parametrize("name", ["RandCropImageV2", "RandomCropImage"])
def test_random_crop_reaches_every_place_and_no_other(name):
    image = np.arange(5 * 4, dtype=np.uint8).reshape(5, 4, 1).repeat(3, axis=2)
    found = {run({name: {"size": 3}}, image=image, seed=seed)[0].tobytes() for seed in range(200)}
    places = [image[top : top + 3, left : left + 3, 0].astype(np.float32) for top in range(3) for left in range(2)]
    assert found == {place.tobytes() for place in places}


@pytest.mark.parametrize(
    ("mode", "numpy_mode"),
    [("constant", "constant"), ("edge", "edge"), ("reflect", "reflect"), ("symmetric", "symmetric")],
)
def test_pad(mode, numpy_mode):
    expected = np.pad(RED_FIRST, ((4, 4), (4, 4), (0, 0)), mode=numpy_mode)
    np.testing.assert_array_equal(red_first(run({"Pad": {"padding": 4, "padding_mode": mode}})), expected)


def test_pad_fill():
    result = run({"Pad": {"padding": 1, "fill": [1, 2, 3]}})
    assert result[:, 0, 0].tolist() == [1, 2, 3]
    with pytest.raises(UserError, match="cannot reflect 20 pixels"):
        run({"Pad": {"padding": 20, "padding_mode": "reflect"}})


@pytest.mark.parametrize(("code", "flipped"), [(1, np.s_[:, ::-1]), (0, np.s_[::-1]), (-1, np.s_[::-1, ::-1])])
def test_flip_happens_half_the_time(code, flipped):
    results = [run({"RandFlipImage": {"flip_code": code}}, seed=seed) for seed in range(60)]
    mirrored = [np.array_equal(red_first(result), RED_FIRST[flipped]) for result in results]
    kept = [np.array_equal(red_first(result), RED_FIRST) for result in results]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 15 < sum(mirrored) < 45


def test_rand_crop_image_draws_area_and_ratio_from_the_intervals():
    # Pixel values that are the coordinates tell from the result where it was cut.
    rows, columns = np.mgrid[:200, :250]
    image = np.stack([columns, rows, rows], axis=2).astype(np.uint8)  # blue is x, red is y
    op = {"RandCropImage": {"size": 2, "scale": [0.2, 0.6], "ratio": [0.5, 2.0], "interpolation": "nearest"}}
    widths, heights = [], []
    for seed in range(300):
        result = run(op, image=image, seed=seed)
        widths.append(2 * (result[2, 0, 1] - result[2, 0, 0]))
        heights.append(2 * (result[0, 1, 0] - result[0, 0, 0]))
    area = np.multiply(widths, heights) / image[..., 0].size
    ratio = np.divide(widths, heights)
    assert 0.18 < area.min() < 0.23
    assert 0.57 < area.max() < 0.62
    assert 0.47 < ratio.min() < 0.6
    assert 1.7 < ratio.max() < 2.1


def test_rand_crop_image_survives_tiny_and_narrow_images():
    for shape in ((1, 1, 3), (1, 50, 3), (60, 2, 3)):
        image = np.full(shape, 7, np.uint8)
        for seed in range(20):
            assert (run({"RandCropImage": {"size": [5, 4]}}, image=image, seed=seed) == np.full((3, 4, 5), 7)).all()


def test_randomness_comes_from_the_generator_alone():
    ops = ({"RandCropImage": {"size": 9}}, "RandFlipImage")
    assert run(*ops, seed=1).tobytes() == run(*ops, seed=1).tobytes()
    assert len({run(*ops, seed=seed).tobytes() for seed in range(5)}) == 5
    with pytest.raises(ValueError, match="needs a generator"):
        run(*ops)
    assert not build_pipeline(parse_transforms(["DecodeImage", {"CropImage": {"size": 3}}])).is_random


@pytest.mark.parametrize(
    "ops",
    [
        [],
        [{"NormalizeImage": {"order": ""}}],
        ["ToCHWImage", {"NormalizeImage": {}}],
        ["ToTensor", {"Normalize": {"mean": [0.5, 0.4, 0.3], "std": 0.2}}],
        [{"NormalizeImage": {"order": ""}}, {"CropImage": {"size": 10}}],
        [{"NormalizeImage": {"order": ""}}, {"RandomErasing": {"EPSILON": 1, "mode": "pixel"}}],
    ],
)
def test_the_result_is_written_where_it_is_asked_for_if_it_has_that_shape(ops):
    pipeline = build_pipeline(parse_transforms(["DecodeImage", *ops]))
    expected, _ = pipeline.labelled(PNG, np.random.default_rng(0))
    batch = np.full((3, *expected.shape), 7, np.float32)
    result, _ = pipeline.labelled(PNG, np.random.default_rng(0), out=batch[1])
    assert np.may_share_memory(result, batch)
    np.testing.assert_array_equal(batch[1], expected)
    assert (batch[[0, 2]] == 7).all()
    other, _ = pipeline.labelled(PNG, np.random.default_rng(0), out=np.empty((3, 4, 5), np.float32))
    np.testing.assert_array_equal(other, expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (4, 1), (1, 256), (256, 1)])
@pytest.mark.parametrize("ops", [[{"NormalizeImage": {"order": ""}}], ["ToTensor"], ["ToCHWImage", "NormalizeImage"]])
def test_looked_up_values_of_tiny_images(shape, ops):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    result = run(*ops, image=image)
    scaled = image[:, :, ::-1].astype(np.float32) / np.float32(255)
    if ops != ["ToTensor"]:
        scaled = (scaled - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    np.testing.assert_allclose(red_first(result), scaled, rtol=1e-5, atol=1e-6)

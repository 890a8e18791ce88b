"""Images of one channel through every transform."""

import cv2
import numpy as np
import pytest
from PIL import Image
from support.drawing import NEEDED
from support.images import GREY, grid, png

from ppcls_compress.config.load import explain
from ppcls_compress.data.datasets import ImageNetDataset
from ppcls_compress.data.transforms import TRANSFORMS, parse_transforms
from ppcls_compress.data.transforms.pipeline import build_pipeline
from ppcls_compress.errors import UserError

SCALE = grid(20, 30, top=255).astype(np.uint8)
PNG = png(SCALE, 8, GREY)


def run(*ops, image=PNG, seed=0):
    pipeline = build_pipeline(parse_transforms([{"DecodeImage": {"channels": 1}}, *ops]))
    return pipeline(image, np.random.default_rng(seed))


def grey(result):
    assert result.shape[0] == 1
    assert result.dtype == np.float32
    return result[0]


@pytest.mark.parametrize("order", ["hwc", "chw"])
@pytest.mark.parametrize(
    "options", [{"mean": [0.5], "std": [0.25]}, {"mean": 0.5, "std": 0.25}, {"mean": [0.5] * 3, "std": [0.25] * 3}]
)
def test_normalize_by_the_formula(order, options):
    ops = ["ToCHWImage"] if order == "chw" else []
    expected = (SCALE[..., 0].astype(np.float32) * np.float32(1 / 255) - np.float32(0.5)) / np.float32(0.25)
    np.testing.assert_array_equal(grey(run(*ops, {"NormalizeImage": {"order": order, **options}})), expected)
    after_float = run(
        {"NormalizeImage": {"scale": 1, "mean": 0, "std": 1, "order": "hwc"}},
        *ops,
        {"NormalizeImage": {"order": order, **options}},
    )
    np.testing.assert_array_equal(grey(after_float), expected)


def test_one_number_stands_for_all_channels_of_a_colour_image():
    colour = np.repeat(SCALE, 3, axis=2)
    ops = [
        {"NormalizeImage": {"mean": mean, "std": std, "order": ""}}
        for mean, std in ((0.5, 0.25), ([0.5] * 3, [0.25] * 3))
    ]
    one, three = (build_pipeline(parse_transforms(["DecodeImage", op]))(colour) for op in ops)
    np.testing.assert_array_equal(one, three)


def test_resizing_is_that_of_the_library():
    flat = SCALE[..., 0]
    by_opencv = cv2.resize(flat, (12, 9), interpolation=cv2.INTER_LINEAR)
    by_pillow = np.asarray(Image.fromarray(flat).resize((12, 9), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(grey(run({"ResizeImage": {"size": [12, 9]}})), by_opencv)
    np.testing.assert_array_equal(grey(run({"ResizeImage": {"size": [12, 9], "backend": "pil"}})), by_pillow)


def test_crops_flips_and_borders():
    flat = SCALE[..., 0]
    np.testing.assert_array_equal(grey(run({"CropImage": {"size": 10}})), flat[5:15, 10:20])
    flips = {run({"RandFlipImage": {"flip_code": 1}}, seed=seed).tobytes() for seed in range(9)}
    assert flips == {flat.astype(np.float32).tobytes(), flat[:, ::-1].astype(np.float32).tobytes()}
    padded = np.pad(flat, 2, constant_values=7)
    for fill in (7, [7]):
        np.testing.assert_array_equal(grey(run({"Pad": {"padding": 2, "fill": fill}})), padded)


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name != "DecodeImage"])
def test_every_transform_keeps_one_channel(name):
    assert run({name: NEEDED.get(name)}).shape[0] == 1


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 3)])
def test_a_decoded_image_may_be_grey_or_not(shape):
    image = SCALE.reshape(shape) if shape[2:] != (3,) else np.repeat(SCALE, 3, axis=2)
    np.testing.assert_array_equal(grey(run(image=np.ascontiguousarray(image))), SCALE[..., 0])
    with pytest.raises(UserError, match=r"found uint8 \[20, 30, 2\]"):
        run(image=np.zeros((20, 30, 2), np.uint8))


@pytest.mark.parametrize(
    ("decode", "op", "text"),
    [
        ({"channels": 1}, {"NormalizeImage": {"order": ""}}, "1.NormalizeImage.mean: ImageNet's has three channels"),
        ({"channels": 1}, {"NormalizeImage": {"order": "", "mean": [0.1, 0.2, 0.3]}}, "1.NormalizeImage.mean: found 3"),
        (
            {"channels": 1},
            {"NormalizeImage": {"order": "", "mean": 0, "std": [1, 2, 3]}},
            "NormalizeImage.std: found 3",
        ),
        ({}, {"NormalizeImage": {"order": "", "mean": [0.1, 0.1]}}, "1.NormalizeImage.mean: found 2 numbers"),
        (
            {},
            {"NormalizeImage": {"order": "", "channel_num": 1}},
            "NormalizeImage.channel_num: found 1 for images of 3",
        ),
        ({"channels": 1}, {"NormalizeImage": {"order": "", "mean": 0, "std": 1, "channel_num": 3}}, "allowed: 1"),
        ({"channels": 1}, {"Pad": {"padding": 1, "fill": [1, 2, 3]}}, "1.Pad.fill: found 3 values"),
        ({"channels": 2}, "ToCHWImage", "0.DecodeImage.channels: found 2; allowed: 1, 3"),
    ],
)
def test_options_for_another_number_of_channels_are_named(decode, op, text):
    data = {"image_root": "a", "cls_label_path": "b", "transform_ops": [{"DecodeImage": decode}, op]}
    with pytest.raises(ValueError, match="validation error") as error:
        ImageNetDataset.model_validate(data)
    (line,) = explain(error.value, data, "yaml")
    assert text in line

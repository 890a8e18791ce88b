"""One photograph through evaluation transforms, beside OpenCV, Pillow and NumPy written out step by step."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from support.photos import jpeg, photograph

from ppcls_compress.data.transforms import parse_transforms
from ppcls_compress.data.transforms.pipeline import build_pipeline

DATA = jpeg(photograph(0), 500, 375)
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
NORMALIZE = {
    "NormalizeImage": {"scale": "1.0/255.0", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "order": ""}
}


def by_opencv():
    return cv2.imdecode(np.frombuffer(DATA, np.uint8), 1)[:, :, ::-1]


def by_pillow():
    return np.asarray(Image.open(io.BytesIO(DATA)).convert("RGB"))


def normalised(image, scale=1 / 255, mean=MEAN, std=STD):
    return ((image.astype(np.float32) * np.float32(scale) - mean) / std).transpose(2, 0, 1)


def imagenet():
    image = cv2.resize(np.ascontiguousarray(by_opencv()), (341, 256), interpolation=cv2.INTER_LINEAR)
    return normalised(image[16:240, 58:282])


def imagenet_by_pillow():
    image = np.asarray(Image.fromarray(by_opencv()).resize((331, 248), Image.Resampling.BICUBIC))
    return normalised(image[12:236, 53:277])


def decoded_by_pillow():
    image = np.asarray(Image.fromarray(by_pillow()).resize((299, 224), Image.Resampling.BICUBIC))
    return normalised(image[:, 37:261])


def attributes():
    return normalised(cv2.resize(np.ascontiguousarray(by_opencv()), (192, 256)))


def efficientnetv2():
    side = int(384 / 416 * 375)
    top, left = (375 - side) // 2, (500 - side) // 2
    image = cv2.resize(np.ascontiguousarray(by_opencv()[top : top + side, left : left + side]), (384, 384))
    return normalised(image, 1.0, np.float32([128] * 3), np.float32([128] * 3))


def reid():
    image = np.asarray(Image.fromarray(by_pillow()).resize((128, 256), Image.Resampling.BILINEAR))
    scaled = (image.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)
    return (scaled - MEAN[:, None, None]) / STD[:, None, None]


def metric_learning():
    height, width = 256, int(256 * 500 / 375)
    image = np.asarray(Image.fromarray(by_pillow()).resize((width, height), Image.Resampling.BILINEAR))
    top, left = round((height - 224) / 2), round((width - 224) / 2)
    scaled = (image[top : top + 224, left : left + 224].astype(np.float32) / np.float32(255)).transpose(2, 0, 1)
    return (scaled - MEAN[:, None, None]) / STD[:, None, None]


def four_channels():
    three = imagenet()
    return np.concatenate([three, np.zeros((1, 224, 224), np.float32)])


DECODE = {"DecodeImage": {"to_rgb": True, "channel_first": False}}
AS_PILLOW = {"DecodeImage": {"to_np": False, "channel_first": False, "backend": "pil"}}
TENSOR = ["ToTensor", {"Normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}]


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        ([DECODE, {"ResizeImage": {"resize_short": 256}}, {"CropImage": {"size": 224}}, NORMALIZE], imagenet),
        (
            [
                DECODE,
                {"ResizeImage": {"resize_short": 248, "interpolation": "bicubic", "backend": "pil"}},
                {"CropImage": {"size": 224}},
                NORMALIZE,
                "ToCHWImage",
            ],
            imagenet_by_pillow,
        ),
        (
            [
                AS_PILLOW,
                {
                    "ResizeImage": {
                        "resize_short": 224,
                        "interpolation": "bicubic",
                        "backend": "pil",
                        "return_numpy": False,
                    }
                },
                {"CropImage": {"size": 224}},
                NORMALIZE,
            ],
            decoded_by_pillow,
        ),
        ([DECODE, {"ResizeImage": {"size": [192, 256]}}, NORMALIZE], attributes),
        (
            [
                DECODE,
                {"CropImageAtRatio": {"size": 384, "pad": 32, "interpolation": "bilinear"}},
                {"NormalizeImage": {"scale": 1.0, "mean": [128.0] * 3, "std": [128.0] * 3, "order": ""}},
            ],
            efficientnetv2,
        ),
        (
            [
                AS_PILLOW,
                {
                    "ResizeImage": {
                        "size": [128, 256],
                        "return_numpy": False,
                        "interpolation": "bilinear",
                        "backend": "pil",
                    }
                },
                *TENSOR,
            ],
            reid,
        ),
        ([AS_PILLOW, {"Resize": {"size": 256}}, {"CenterCrop": {"size": 224}}, *TENSOR], metric_learning),
        (
            [
                DECODE,
                {"ResizeImage": {"resize_short": 256}},
                {"CropImage": {"size": 224}},
                {"NormalizeImage": {**NORMALIZE["NormalizeImage"], "channel_num": 4}},
            ],
            four_channels,
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_the_numbers_of_an_image(ops, expected):
    found = build_pipeline(parse_transforms(ops))(DATA)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(), rtol=0, atol=1e-6)

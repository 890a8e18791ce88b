import math

import cv2
import numpy as np
import pytest
from PIL import Image
from support.drawing import DRAWS, assert_share, assert_uniform, result, results

from ppcls_compress.data.transforms import parse_transforms, rotating
from ppcls_compress.data.transforms.pipeline import build_pipeline

NOISE = np.random.default_rng(0).integers(0, 256, (20, 31, 3), np.uint8)
BY_PILLOW = {"backend": "pil", "to_np": False}


def test_random_horizontal_flip():
    flipped = 0
    for draw in results({"RandomHorizontalFlip": {"prob": 0.3}}, image=NOISE):
        mirrored = np.array_equal(draw, NOISE[:, ::-1])
        assert mirrored or np.array_equal(draw, NOISE)
        flipped += mirrored
    assert_share(flipped / DRAWS, 0.3)


def labelled(op, draws=DRAWS):
    pipeline = build_pipeline(parse_transforms(["DecodeImage", op]))
    image = np.ascontiguousarray(NOISE[:, :, ::-1])
    for seed in range(draws):
        array, labels = pipeline.labelled(image, np.random.default_rng(seed))
        yield array.transpose(1, 2, 0), labels


def test_random_rot90_turns_counter_clockwise_and_tells_how_far():
    counts = np.zeros(4)
    for array, labels in labelled("RandomRot90"):
        quarters = labels["random_rot90_orientation"]
        np.testing.assert_array_equal(array, np.rot90(NOISE, quarters))
        counts[quarters] += 1
    for count in counts:
        assert_share(count / DRAWS, 0.25)


def angles(monkeypatch, op, decode=None):
    """The angles of all turns; the turns are not made."""
    found = []

    def note(self, image, angle, fill):
        found.append(angle)
        return image

    monkeypatch.setattr(rotating.RandomRotation, "_by_opencv", note)
    for _ in results({"RandomRotation": op}, image=NOISE, decode=decode):
        pass
    return np.array(found)


def test_random_rotation_turns_some_images_by_a_uniform_angle(monkeypatch):
    found = angles(monkeypatch, {"degrees": 90, "prob": 0.3})
    assert_share(len(found) / DRAWS, 0.3)
    assert_uniform(found, -90, 90)
    assert_uniform(angles(monkeypatch, {"degrees": [-10, 40], "prob": 1}), -10, 40)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("expand", [False, True])
@pytest.mark.parametrize("center", [None, [3, 4]])
def test_rotation_is_that_of_the_library(interpolation, expand, center):
    angle = 33.0
    options = {"degrees": [angle, angle], "prob": 1, "interpolation": interpolation, "expand": expand, "fill": 9}
    by_pillow = Image.fromarray(NOISE).rotate(
        angle, Image.Resampling[interpolation.upper()], expand=expand, center=center, fillcolor=(9, 9, 9)
    )
    op = {"RandomRotation": {**options, "center": center}}
    np.testing.assert_array_equal(result(op, image=NOISE, decode=BY_PILLOW), np.asarray(by_pillow))
    matrix = cv2.getRotationMatrix2D(center or (15.5, 10.0), angle, 1)
    size = (31, 20)
    if expand:
        size = by_pillow.size if center is None else size_around(center, angle)
        matrix[:, 2] += (size[0] - 31) / 2, (size[1] - 20) / 2
    code = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[interpolation]
    expected = cv2.warpAffine(NOISE, matrix, size, flags=code, borderValue=(9, 9, 9))
    np.testing.assert_array_equal(result(op, image=NOISE), expected)


def size_around(center, angle):
    """The smallest box of whole pixels around the corners, each turned about the centre, clockwise as Paddle has it."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    corners = [(x - center[0], y - center[1]) for x in (0, 31) for y in (0, 20)]
    across = [center[0] + x * cosine - y * sine for x, y in corners]
    down = [center[1] + x * sine + y * cosine for x, y in corners]
    return math.ceil(max(across)) - math.floor(min(across)), math.ceil(max(down)) - math.floor(min(down))


def kinds_of_blur():
    """All that BlurImage may make of the image by default: Gaussians, and lines of movement."""
    sides = (5, 7, 9, 11)
    gaussian = {cv2.GaussianBlur(NOISE, (width, height), 0).tobytes() for width in sides for height in sides}
    moved = set()
    for length in sides:
        for angle in range(-45, 45):
            line = cv2.warpAffine(
                np.diag(np.ones(length)),
                cv2.getRotationMatrix2D((length / 2, length / 2), angle, 1),
                (length, length),
            )
            blurred = cv2.filter2D(NOISE, -1, line / length)
            moved.add(cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX).tobytes())
    return gaussian, moved


def test_blur_image_blurs_half_and_tells_which():
    gaussian, moved = kinds_of_blur()
    counts = {"kept": 0, "gaussian": 0, "moved": 0}
    seen = set()
    for array, labels in labelled("BlurImage"):
        found = array.astype(np.uint8).tobytes()
        kind = "gaussian" if found in gaussian else "moved" if found in moved else "kept"
        assert labels == {"blur_image": int(kind != "kept")}
        assert kind != "kept" or np.array_equal(array, NOISE)
        counts[kind] += 1
        seen.add(found)
    assert_share(counts["kept"] / DRAWS, 0.5)
    assert_share(counts["gaussian"] / DRAWS, 0.25)
    assert len(gaussian & seen) == 16
    assert len(moved & seen) > 100

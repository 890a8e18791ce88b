import io

import cv2
import numpy as np
import pytest
from PIL import Image

from ppcls_compress.data.images import BadImageError
from ppcls_compress.data.images.truncation import is_truncated
from ppcls_compress.data.transforms.decoding import DecodeImage, decode

RED_FIRST = np.zeros((24, 40, 3), np.uint8)
RED_FIRST[:, :20, 0] = 200
RED_FIRST[:12, :, 2] = 90


def encoded(kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(RED_FIRST).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_decodes_to_the_asked_order_and_layout(backend):
    data = encoded("png")
    np.testing.assert_array_equal(decode(data, DecodeImage(backend=backend)), RED_FIRST)
    blue_first = decode(data, DecodeImage(backend=backend, to_rgb=False))
    np.testing.assert_array_equal(blue_first, RED_FIRST[:, :, ::-1])
    first = decode(data, DecodeImage(backend=backend, channel_first=True))
    np.testing.assert_array_equal(first, RED_FIRST.transpose(2, 0, 1))


def test_without_to_np_the_backend_decides_the_order():
    data = encoded("png")
    options = {"to_np": False, "channel_first": True}
    np.testing.assert_array_equal(decode(data, DecodeImage(backend="pil", to_rgb=False, **options)), RED_FIRST)
    np.testing.assert_array_equal(decode(data, DecodeImage(backend="cv2", **options)), RED_FIRST[:, :, ::-1])


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_grey_and_transparent_images_get_three_channels(backend):
    for mode in ("L", "RGBA"):
        buffer = io.BytesIO()
        Image.fromarray(RED_FIRST).convert(mode).save(buffer, "png")
        assert decode(buffer.getvalue(), DecodeImage(backend=backend)).shape == (24, 40, 3)


@pytest.mark.parametrize("backend", ["cv2", "pil"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("jpeg", {}), ("jpeg", {"progressive": True}), ("png", {})],
    ids=["jpeg", "progressive", "png"],
)
@pytest.mark.parametrize("part", [0.3, 0.7, 0.97])
def test_a_truncated_image_is_refused(backend, kind, options, part):
    data = encoded(kind, **options)
    assert not is_truncated(data)
    with pytest.raises(BadImageError, match="truncated"):
        decode(data[: int(len(data) * part)], DecodeImage(backend=backend))


def test_only_a_missing_end_counts_as_truncated():
    data = encoded("jpeg")
    assert not is_truncated(data + b"\0" * 100)
    assert not is_truncated(data + b"camera notes")
    assert is_truncated(data[:-2])
    assert is_truncated(data[:-2] + b"\0" * 1000)


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_image():
    data, thumbnail = encoded("jpeg"), encoded("jpeg", quality=1)
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = data[:2] + segment + data[2:]
    assert not is_truncated(whole + b"\0")
    assert is_truncated(whole[:-2] + b"\0")


def test_a_picture_that_is_random_noise_is_complete():
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    for options in ([], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]):
        data = cv2.imencode(".jpg", noise, options)[1].tobytes()
        assert not is_truncated(data + b"\0")
        assert is_truncated(data[:-2] + b"\0")


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_what_is_no_image_is_refused(backend):
    with pytest.raises(BadImageError, match="not an image"):
        decode(b"<html>404 not found</html>", DecodeImage(backend=backend))


@pytest.mark.parametrize("backend", ["cv2", "pil"])
@pytest.mark.parametrize("options", [{}, {"to_rgb": False}, {"to_np": False}])
def test_one_channel_is_the_luma_of_the_three(backend, options):
    grey = decode(encoded("png"), DecodeImage(backend=backend, channels=1, **options))
    assert grey.shape == (24, 40, 1)
    expected = RED_FIRST @ [0.299, 0.587, 0.114]  # ITU-R BT.601
    assert np.abs(grey[..., 0] - expected).max() <= 0.51
    first = decode(encoded("png"), DecodeImage(backend=backend, channels=1, channel_first=True))
    np.testing.assert_array_equal(first, grey.transpose(2, 0, 1))


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_one_channel_of_a_grey_image_is_that_image(backend):
    scale = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for kind in ("png", "tiff", "bmp"):
        buffer = io.BytesIO()
        Image.fromarray(scale).save(buffer, kind)
        np.testing.assert_array_equal(
            decode(buffer.getvalue(), DecodeImage(backend=backend, channels=1))[..., 0], scale
        )

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.images import RGB, chunk, grid, png, tiff

from ppcls_compress.data.images import BadImageError
from ppcls_compress.data.images.header import MAX_PIXELS, open_image, plain_jpeg
from ppcls_compress.data.transforms.decoding import DecodeImage, decode

BACKENDS = pytest.mark.parametrize("backend", ["cv2", "pil"])
PIXELS = grid(12, 20, channels=3, top=255).astype(np.uint8)
TURNED = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.transpose(1, 0, 2),
    6: PIXELS.transpose(1, 0, 2)[:, ::-1],
    7: PIXELS.transpose(1, 0, 2)[::-1, ::-1],
    8: PIXELS.transpose(1, 0, 2)[::-1],
}
"""What EXIF 2.3 says of each orientation: where the first row and the first column of the stored image belong."""


def exif(orientation):
    return b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + bytes(4)


def saved(kind, orientation):
    if kind == "PNG":
        return png(PIXELS, 8, RGB, before=chunk(b"eXIf", exif(orientation)))
    if kind == "PNG, told after the pixels":
        return png(PIXELS, 8, RGB, after=chunk(b"eXIf", exif(orientation)))
    buffer = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0}
    Image.fromarray(PIXELS).save(buffer, kind, exif=b"Exif\0\0" + exif(orientation), **options)
    return buffer.getvalue()


@BACKENDS
@pytest.mark.parametrize("kind", ["PNG", "PNG, told after the pixels", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_says_unless_it_should_not_be(backend, kind, orientation):
    data = saved(kind, orientation)
    tolerance = 12 if kind == "JPEG" else 0
    turned = decode(data, DecodeImage(backend=backend)).astype(int)
    assert turned.shape == TURNED[orientation].shape
    assert np.abs(turned - TURNED[orientation]).max() <= tolerance
    kept = decode(data, DecodeImage(backend=backend, exif_orientation=False)).astype(int)
    assert np.abs(kept - PIXELS).max() <= tolerance


@BACKENDS
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("asked", [True, False])
def test_the_orientation_of_a_tiff_is_part_of_its_form(backend, orientation, asked):
    data = tiff(PIXELS, 8, 2, tags={274: [orientation]})
    found = decode(data, DecodeImage(backend=backend, exif_orientation=asked))
    np.testing.assert_array_equal(found, TURNED[orientation])


@BACKENDS
@pytest.mark.filterwarnings("error")
def test_an_orientation_that_does_not_exist_and_exif_that_is_damaged_say_nothing(backend):
    for content in (exif(0), exif(9), exif(65535), b"II*\0\xff\xff\xff\xff", b"II", b""):
        data = png(PIXELS, 8, RGB, before=chunk(b"eXIf", content))
        np.testing.assert_array_equal(decode(data, DecodeImage(backend=backend)), PIXELS)


def test_the_reference_turns_them_alike():
    for orientation, expected in TURNED.items():
        turned = ImageOps.exif_transpose(Image.open(io.BytesIO(saved("WEBP", orientation))))
        np.testing.assert_array_equal(np.asarray(turned), expected)


def blank(side):
    """A PNG of `side` x `side` black pixels of one bit, a few kilobytes."""
    packer = zlib.compressobj(9)
    rows = (packer.compress(bytes(side // 8 + 1) * 64) for _ in range(side // 64))
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = b"".join(rows) + packer.compress(bytes(side // 8 + 1) * (side % 64)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@BACKENDS
def test_a_giant_is_refused_by_its_header(backend):
    for side, text in (
        (30016, "more than 178,956,970 pixels"),
        (10000, "10000 x 10000 pixels are more than 89,478,485"),
    ):
        data = blank(side)
        with pytest.raises(BadImageError, match=text):
            decode(data, DecodeImage(backend=backend))


@BACKENDS
@pytest.mark.filterwarnings("error")
def test_how_many_pixels_are_read_is_an_option(backend):
    data = blank(64)
    assert decode(data, DecodeImage(backend=backend, max_pixels=64 * 64)).shape == (64, 64, 3)
    with pytest.raises(BadImageError, match="64 x 64 pixels are more than 4,095; DecodeImage.max_pixels says how many"):
        decode(data, DecodeImage(backend=backend, max_pixels=64 * 64 - 1))
    with pytest.raises(ValueError, match="less than or equal to 178956970"):
        DecodeImage(max_pixels=2 * MAX_PIXELS + 1)


def test_what_would_run_a_program_is_no_image():
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n" + b"showpage\n" * 9
    assert Image.open(io.BytesIO(postscript)).format == "EPS"
    with pytest.raises(BadImageError, match="not an image: it has the form of none of JPEG, PNG, WEBP, BMP, GIF, TIFF"):
        open_image(postscript)


@pytest.mark.parametrize(
    "start", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\4\0\0\0WEBP", b"GIF89a", b"BM", b"MM\0*"]
)
def test_a_header_without_more_is_one_line(start):
    with pytest.raises(BadImageError) as error:
        open_image(start)
    assert "\n" not in str(error.value)
    assert "0x" not in str(error.value)


def jpeg(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"comment": b"a comment"}, {"quality": 1}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_size_of_a_plain_jpeg(mode, options):
    assert plain_jpeg(jpeg(Image.new(mode, (300, 7)), **options)) == (300, 7)


def test_a_jpeg_with_anything_that_may_matter_is_left_to_pillow():
    image = Image.new("RGB", (20, 10))
    exif = image.getexif()
    exif[0x0112] = 6
    assert plain_jpeg(jpeg(image, exif=exif)) is None
    assert plain_jpeg(jpeg(image, icc_profile=b"profile")) is None
    assert plain_jpeg(jpeg(Image.new("CMYK", (20, 10)))) is None
    buffer = io.BytesIO()
    image.save(buffer, "png")
    assert plain_jpeg(buffer.getvalue()) is None


def test_a_damaged_jpeg_is_left_to_pillow():
    data = jpeg(Image.new("RGB", (20, 10)))
    for length in range(len(data)):
        assert plain_jpeg(data[:length]) in (None, (20, 10))
    assert plain_jpeg(b"\xff\xd8" + b"\xff\xe0\x00\x00" * 50) is None
    assert plain_jpeg(b"\xff\xd8" + bytes(100)) is None

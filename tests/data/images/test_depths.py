"""Samples of every depth and kind, against values that no decoder has had a hand in."""

import io

import cv2
import numpy as np
import PIL
import pytest
from PIL import Image
from support.images import GREY, GREY_ALPHA, PALETTE, RGB, RGB_ALPHA, chunk, grid, png, three, tiff

from ppcls_compress.data.images import BadImageError
from ppcls_compress.data.transforms.decoding import DecodeImage, decode

BACKENDS = pytest.mark.parametrize("backend", ["cv2", "pil"])
PILLOW_13 = pytest.mark.skipif(
    int(PIL.__version__.partition(".")[0]) < 13, reason="Pillow before 13 refuses TIFFs of this kind"
)
BLACK_IS_ZERO, WHITE_IS_ZERO, TIFF_RGB, TIFF_PALETTE = 1, 0, 2, 3
UNSIGNED, SIGNED, FLOATING = 1, 2, 3


def eight_bits(samples, bits):
    """Fewer bits are spread over 0 .. 255, of more the upper eight count."""
    return samples * 255 // (2**bits - 1) if bits < 8 else samples >> (bits - 8)


def assert_decodes(data, expected, backend):
    found = decode(data, DecodeImage(backend=backend))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@BACKENDS
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("transparent", [b"", chunk(b"tRNS", b"\0\1")], ids=["opaque", "transparent"])
def test_grey_png(backend, bits, transparent):
    samples = grid(top=2**bits - 1)
    assert_decodes(png(samples, bits, GREY, before=transparent), three(eight_bits(samples, bits)), backend)


@BACKENDS
@pytest.mark.parametrize("bits", [8, 16])
def test_colour_png_with_and_without_alpha(backend, bits):
    samples = grid(channels=4, top=2**bits - 1)
    upper = eight_bits(samples, bits)
    assert_decodes(png(samples[..., :3], bits, RGB), upper[..., :3], backend)
    assert_decodes(png(samples, bits, RGB_ALPHA), upper[..., :3], backend)
    assert_decodes(png(samples[..., :2], bits, GREY_ALPHA), three(upper[..., :1]), backend)


@BACKENDS
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparency", [b"", chunk(b"tRNS", b"\0\x80")], ids=["opaque", "transparent"])
@pytest.mark.filterwarnings("error")
def test_palette_png(backend, bits, transparency):
    palette = np.random.default_rng(bits).integers(0, 256, (2**bits, 3), np.uint8)
    samples = grid(top=2**bits - 1)
    data = png(samples, bits, PALETTE, before=chunk(b"PLTE", palette.tobytes()) + transparency)
    assert_decodes(data, palette[samples[..., 0]], backend)


@BACKENDS
@pytest.mark.parametrize(
    ("bits", "photometric", "order"),
    [
        *[(bits, zero, "<") for bits in (1, 2, 4, 8, 16) for zero in (BLACK_IS_ZERO, WHITE_IS_ZERO)],
        (12, BLACK_IS_ZERO, "<"),
        (16, BLACK_IS_ZERO, ">"),
    ],
)
def test_grey_tiff(backend, bits, photometric, order):
    samples = grid(top=2**bits - 1)
    grey = eight_bits(samples, bits)
    expected = 255 - grey if photometric == WHITE_IS_ZERO else grey
    assert_decodes(tiff(samples, bits, photometric, order=order), three(expected), backend)


@BACKENDS
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_colour_tiff_with_and_without_alpha(backend, bits, order):
    samples = grid(channels=4, top=2**bits - 1)
    upper = eight_bits(samples, bits)
    assert_decodes(tiff(samples[..., :3], bits, TIFF_RGB, order=order), upper[..., :3], backend)
    for kind in (0, 2):  # the fourth is of no stated meaning, or alpha that colours were not multiplied with
        assert_decodes(tiff(samples, bits, TIFF_RGB, order=order, tags={338: [kind]}), upper[..., :3], backend)


@BACKENDS
def test_colours_of_a_tiff_that_alpha_was_multiplied_into_are_taken_apart(backend):
    colour = np.broadcast_to(np.uint8([200, 100, 40]), (4, 255, 3))
    alpha = np.broadcast_to(np.arange(1, 256)[None, :, None], (4, 255, 1))
    samples = np.concatenate([np.rint(colour * (alpha / 255)), alpha], axis=2).astype(np.int64)
    found = decode(tiff(samples, 8, TIFF_RGB, tags={338: [1]}), DecodeImage(backend=backend)).astype(int)
    assert (np.abs(found - colour) <= np.ceil(128 / alpha)).all()  # half a step of the stored value, divided by alpha


@PILLOW_13
@BACKENDS
def test_grey_of_a_tiff_that_alpha_was_multiplied_into_is_taken_apart(backend):
    alpha = np.broadcast_to(np.arange(1, 256)[None, :, None], (4, 255, 1))
    grey = np.concatenate([np.rint(40 * (alpha / 255)), alpha], axis=2).astype(np.int64)
    found = decode(tiff(grey, 8, BLACK_IS_ZERO, tags={338: [1]}), DecodeImage(backend=backend)).astype(int)
    assert (np.abs(found - 40) <= np.ceil(128 / alpha)).all()


@BACKENDS
def test_palette_tiff(backend):
    palette = np.random.default_rng(0).integers(0, 256, (256, 3))
    samples = grid(top=255)
    data = tiff(samples, 8, TIFF_PALETTE, tags={320: (palette.T * 257).ravel().tolist()})
    assert_decodes(data, palette[samples[..., 0]], backend)


@BACKENDS
@pytest.mark.parametrize(
    ("samples", "bits", "kind", "text"),
    [
        (grid(top=65535), 32, UNSIGNED, "of 32 bits"),
        (grid(top=65535), 32, SIGNED, "with a sign"),
        (grid(top=32767), 16, SIGNED, "with a sign"),
        (grid(top=65535) / 65535, 32, FLOATING, "in floating point"),
    ],
)
def test_samples_without_a_largest_value_are_refused(backend, samples, bits, kind, text):
    with pytest.raises(BadImageError, match=f"its samples are {text}, and nothing says which of them is white"):
        decode(tiff(samples, bits, BLACK_IS_ZERO, tags={339: [kind]}), DecodeImage(backend=backend))


@BACKENDS
def test_a_tiff_that_pillow_does_not_know_says_so(backend):
    for data in (tiff(grid(top=1.0) / 1.0, 64, BLACK_IS_ZERO, tags={339: [FLOATING]}), b"II*\0" + bytes(20)):
        with pytest.raises(BadImageError, match="not an image: a TIFF whose kind of samples Pillow does not know"):
            decode(data, DecodeImage(backend=backend))


@BACKENDS
@pytest.mark.parametrize("top", [255, 1000, 65535])
def test_portable_grey_maps(backend, top):
    samples = grid(top=top)
    data = f"P5 20 12 {top}\n".encode() + samples.astype(">u2" if top > 255 else "u1").tobytes()
    grey = decode(data, DecodeImage(backend=backend))[..., :1].astype(int)
    assert np.abs(grey - samples * 255 / top).max() <= 1


def saved(mode, kind, **options):
    colour = Image.fromarray(grid(24, 40, channels=3, top=255).astype(np.uint8)).resize((80, 48))
    buffer = io.BytesIO()
    colour.convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


@BACKENDS
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_what_the_inks_leave_of_white(backend, kind):
    data = saved("CMYK", kind)
    inks = np.asarray(Image.open(io.BytesIO(data))).astype(float)
    expected = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    assert np.abs(decode(data, DecodeImage(backend=backend)) - expected).max() <= 1


@BACKENDS
@pytest.mark.parametrize("kind", ["JPEG", pytest.param("TIFF", marks=PILLOW_13)])
def test_ycbcr_by_its_definition(backend, kind):
    data = saved("YCbCr", kind)
    image = Image.open(io.BytesIO(data))
    image.draft("YCbCr", image.size)
    luma, blue, red = np.moveaxis(np.asarray(image).astype(float), 2, 0)
    expected = np.stack(
        [
            luma + 1.402 * (red - 128),
            luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128),
            luma + 1.772 * (blue - 128),
        ],
        axis=2,
    ).clip(0, 255)
    assert np.abs(decode(data, DecodeImage(backend=backend)) - expected).max() <= 2


MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "JPEG": ("1", "L", "RGB", "CMYK", "YCbCr"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "WEBP": ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"),
    "GIF": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"),
}


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        pytest.param(kind, mode, marks=PILLOW_13 if (kind, mode) == ("TIFF", "YCbCr") else ())
        for kind, modes in MODES.items()
        for mode in modes
    ],
)
def test_both_backends_see_the_same_image(kind, mode):
    data = saved(mode, kind, **({"lossless": True} if kind == "WEBP" else {}))
    by_opencv, by_pillow = (decode(data, DecodeImage(backend=backend)).astype(int) for backend in ("cv2", "pil"))
    assert np.abs(by_opencv - by_pillow).max() <= (1 if (mode, kind) == ("CMYK", "JPEG") else 0)


@BACKENDS
def test_the_first_frame_of_an_animation_counts(backend):
    frames = [Image.fromarray(np.full((9, 7, 3), value, np.uint8)) for value in (40, 200)]
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})):
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], **options)
        assert_decodes(buffer.getvalue(), np.full((9, 7, 3), 40), backend)


@BACKENDS
def test_a_bitmap_of_five_bits_a_channel_reaches_white(backend):
    header = b"BM" + (54 + 4).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    info = b"".join(n.to_bytes(4, "little") for n in (40, 1, 1)) + b"\1\0\x10\0" + bytes(24)
    white = header + info + b"\xff\x7f\0\0"
    assert cv2.imdecode(np.frombuffer(white, np.uint8), cv2.IMREAD_COLOR).max() < 255  # what OpenCV makes of it
    assert_decodes(white, np.full((1, 1, 3), 255), backend)

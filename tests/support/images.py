"""Image files written sample by sample, so that what a decoder must give is known without any decoder."""

import struct
import zlib

import numpy as np

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # colour types of PNG


def grid(height=12, width=20, *, channels=1, top=65535):
    """Samples [H, W, C] that differ from pixel to pixel and reach from 0 to `top`."""
    count = height * width * channels
    values = (np.arange(count, dtype=np.int64) * 7919 % count) * top // (count - 1)
    return values.reshape(height, width, channels)


def packed(samples, bits):
    """Rows of samples [H, W, C] as bytes, the first sample in the highest bits, each row filled up to a whole byte."""
    rows = samples.reshape(len(samples), -1).astype(np.int64)
    digits = (rows[:, :, None] >> np.arange(bits)[::-1]) & 1
    return [row.tobytes() for row in np.packbits(digits.reshape(len(rows), -1).astype(np.uint8), axis=1)]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(samples, bits, colour, *, before=b"", after=b""):
    """A PNG of samples [H, W, C]; `before` and `after` are chunks on either side of the pixels."""
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in packed(samples, bits)))
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), before, chunk(b"IDAT", pixels), after, chunk(b"IEND", b""))
    )


def tiff(samples, bits, photometric, *, order="<", tags=()):
    """An uncompressed TIFF of samples [H, W, C], unsigned unless `tags`, {number: values} of 16 bits, say otherwise."""
    height, width, channels = samples.shape
    if bits < 16:
        pixels = b"".join(packed(samples, bits))
    else:
        pixels = samples.astype(f"{order}{'f' if samples.dtype.kind == 'f' else 'i'}{bits // 8}").tobytes()
    entries = {256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [photometric], 277: [channels]}
    entries |= {278: [height], 273: None, 279: None} | dict(tags)
    start = 8 + 2 + 12 * len(entries) + 4
    directory, values = struct.pack(f"{order}H", len(entries)), b""
    lengths = {273: start + sum(2 * len(item) for item in entries.values() if item and len(item) > 2), 279: len(pixels)}
    for tag, item in sorted(entries.items()):
        if tag in lengths:
            directory += struct.pack(f"{order}HHII", tag, 4, 1, lengths[tag])
            continue
        content = struct.pack(f"{order}{len(item)}H", *item)
        if len(content) > 4:
            content, values = struct.pack(f"{order}I", start + len(values)), values + content
        directory += struct.pack(f"{order}HHI", tag, 3, len(item)) + content.ljust(4, b"\0")
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}I", 8) + directory + b"\0\0\0\0" + values + pixels


def three(grey):
    """Grey [H, W, 1] as uint8 [H, W, 3]."""
    return np.repeat(grey, 3, axis=2).astype(np.uint8)

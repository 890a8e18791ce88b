"""An archive like the official one of CIFAR-10, of a few images."""

import io
import struct
import tarfile

import numpy as np

NAMES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
PER_BATCH = 4


def text(value):
    return b"T" + struct.pack("<i", len(value)) + value


def number(value):
    return b"J" + struct.pack("<i", value)


def python2_pickle(images, labels):
    """The opcodes that Python 2 and NumPy 1 wrote into the official files: byte strings, old module names."""
    reconstruct = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"tR"
    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + number(0) + number(1) + b"tR"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    shape = number(images.shape[0]) + number(images.shape[1]) + b"\x86"
    array = reconstruct + b"(" + number(1) + shape + dtype + b"\x89" + text(images.tobytes()) + b"tb"
    listed = b"](" + b"".join(map(number, labels)) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."


def batch(seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (PER_BATCH, 3072), np.uint8), rng.integers(0, 10, PER_BATCH).tolist()


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def official(path, **replaced):
    members = {f"cifar-10-batches-py/{name}": python2_pickle(*batch(seed)) for seed, name in enumerate(NAMES)}
    members["cifar-10-batches-py/readme.html"] = b"<html>"
    for name, data in replaced.items():
        members[f"cifar-10-batches-py/{name}"] = data
    return write_tar(path, {name: data for name, data in members.items() if data is not None}, "w:gz")

"""The official archives of CIFAR-10 and CIFAR-100: tar files of pickles, read without running anything in them."""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppcls_compress import restricted_pickle
from ppcls_compress.errors import UserError

SIDE = 32
_LARGEST = 2**28
"""Bytes of one file in an archive: all of CIFAR-100 in one has 154 million."""
_PIECE = 2**20


@dataclass(frozen=True)
class Archive:
    """What an archive holds.

    Attributes:
        name: of the file.
        classes: how many there are.
        labels: what a batch calls its labels.
        batches: the files of each split.
    """

    name: str
    classes: int
    labels: bytes
    batches: Mapping[str, tuple[str, ...]]


CIFAR10 = Archive(
    "cifar-10-python.tar.gz",
    10,
    b"labels",
    {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)},
)
CIFAR100 = Archive("cifar-100-python.tar.gz", 100, b"fine_labels", {"train": ("train",), "test": ("test",)})


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the regular files in a tar archive; links, devices and the like are passed over.

    Raises:
        UserError: it is none, is damaged, or one of its files is larger than any of these data sets.
    """
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and member.size > _LARGEST:
                    raise UserError(f"{path}: {member.name} has {member.size:,} bytes, more than any file of CIFAR")
                if member.isfile():
                    yield member.name.removeprefix("./"), archive.extractfile(member).read()
            while archive.fileobj.read(_PIECE):  # a damaged archive is known by the checksum at its end
                pass
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{path}: not a readable tar archive: {error}") from error


def read(path: Path, kind: Archive, splits: tuple[str, ...]) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Images uint8 [N, 3, 32, 32], red first, and labels of each split.

    Raises:
        UserError: it is not this archive.
    """
    wanted = {name for split in splits for name in kind.batches[split]}
    found = {Path(name).name: data for name, data in members(path) if Path(name).name in wanted}
    if wanted - set(found):
        raise UserError(f"{path}: not the official archive: {min(wanted - set(found))} is not in it")
    splitted = {}
    for split in splits:
        batches = [_batch(found[name], f"{path}: {name}", kind) for name in kind.batches[split]]
        images = np.concatenate([images for images, _ in batches])
        splitted[split] = images, [label for _, labels in batches for label in labels]
    return splitted


def _batch(data: bytes, source: str, kind: Archive) -> tuple[np.ndarray, list[int]]:
    """Images and labels of one batch file, a pickle written by Python 2."""
    batch = restricted_pickle.load(io.BytesIO(data), source, encoding="bytes")
    images = batch.get(b"data") if isinstance(batch, dict) else None
    labels = batch.get(kind.labels) if isinstance(batch, dict) else None
    right_images = isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim == 2
    if not right_images or images.shape[1] != 3 * SIDE**2 or not isinstance(labels, list):
        name = kind.labels.decode()
        raise UserError(f"{source}: expected `data`, uint8 [N, {3 * SIDE**2}], and a list `{name}`")
    if len(labels) != len(images) or any(type(label) is not int or not 0 <= label < kind.classes for label in labels):
        raise UserError(f"{source}: expected {len(images)} labels from 0 to {kind.classes - 1}")
    return images.reshape(-1, 3, SIDE, SIDE), labels

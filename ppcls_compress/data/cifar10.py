"""CIFAR-10 as image files with lists.

python -m ppcls_compress.data.cifar10 --out DIR                              # downloads the official archive
python -m ppcls_compress.data.cifar10 --out DIR --source cifar-10-python.tar.gz
python -m ppcls_compress.data.cifar10 --out DIR --source train.tar val.tar   # image tars, lists beside them
python -m ppcls_compress.data.cifar10 --out DIR --source FOLDER              # a folder that holds either
"""

from __future__ import annotations

import argparse
import io
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from ppcls_compress import restricted_pickle
from ppcls_compress.data.folder import run, write_image_folder
from ppcls_compress.download import fetch
from ppcls_compress.errors import UserError
from ppcls_compress.text import read_text

_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
_ARCHIVE = "cifar-10-python.tar.gz"
_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "val": ("test_batch",)}
_FOLDERS = {"train": "train", "val": "test"}
_SIDE = 32
_LARGEST = 2**26
"""Bytes of one file in an archive: a batch has 31 million."""

Lists = dict[str, list[tuple[str, int]]]


def write_cifar10(out: str | Path, sources: Sequence[str | Path] = ()) -> tuple[int, int, bool]:
    """Write the data set; nothing happens if it is there already, made from the same kind of source.

    Args:
        sources: the official archive, two image tars, or a folder that holds either; empty to download the archive.

    Returns:
        Images for training, images for validation, and whether they were written now.

    Raises:
        UserError: a source is missing or is not what it should be, the download fails, or `out` holds something else.
    """
    paths = _find([Path(source) for source in sources])
    if len(paths) == 1:
        kind, (files, lists) = "official archive", _from_archive(paths[0])
    else:
        kind, (files, lists) = "image tars", _from_tars(*paths)
    written = write_image_folder(
        out,
        description={"name": "cifar10", "source": kind, **{split: len(lines) for split, lines in lists.items()}},
        classes=_CLASSES,
        files=files,
        lists=lists,
    )
    return len(lists["train"]), len(lists["val"]), written


def _find(sources: list[Path]) -> list[Path]:
    """The official archive, or the tar for training and the one for validation."""
    if not sources:
        return [fetch(_URL, checksum=("sha256", _SHA256))]
    if len(sources) == 1 and sources[0].is_dir():
        folder = sources[0]
        archive, tars = folder / _ARCHIVE, [folder / "train.tar", folder / "val.tar"]
        if archive.is_file():
            return [archive]
        if not all(tar.is_file() for tar in tars):
            raise UserError(f"--source: {folder} holds neither {_ARCHIVE} nor train.tar and val.tar")
        return tars
    if len(sources) > 2:
        raise UserError(f"--source: expected one archive, two tars or a folder, found {len(sources)} paths")
    for source in sources:
        if not source.is_file():
            raise UserError(f"--source: no such file {source}")
    if len(sources) == 2 and sources[0].stem == "val" and sources[1].stem == "train":
        sources.reverse()
    return sources


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the regular files in a tar archive; links, devices and the like are passed over."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and member.size > _LARGEST:
                    raise UserError(f"{path}: {member.name} has {member.size:,} bytes, more than any file of CIFAR-10")
                if member.isfile():
                    yield member.name.removeprefix("./"), archive.extractfile(member).read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(f"{path}: not a readable tar archive: {error}") from error


def _from_archive(path: Path) -> tuple[Iterator[tuple[str, bytes]], Lists]:
    wanted = {name for names in _BATCHES.values() for name in names}
    found = {Path(name).name: data for name, data in _members(path) if Path(name).name in wanted}
    if wanted - set(found):
        raise UserError(f"{path}: not the official archive: {min(wanted - set(found))} is not in it")
    files: list[tuple[str, np.ndarray]] = []
    lists: Lists = {}
    for split, names in _BATCHES.items():
        lists[split] = []
        for name in names:
            for image, label in zip(*_read_batch(found[name], f"{path}: {name}"), strict=True):
                file = f"{_FOLDERS[split]}/{_CLASSES[label]}/{len(lists[split]):05d}.png"
                files.append((file, image))
                lists[split].append((file, label))
    return ((name, _png(image)) for name, image in files), lists


def _read_batch(data: bytes, source: str) -> tuple[np.ndarray, list[int]]:
    """Images uint8 [N, 3, 32, 32] and labels of one batch file, a pickle written by Python 2."""
    batch = restricted_pickle.load(io.BytesIO(data), source, encoding="bytes")
    images = batch.get(b"data") if isinstance(batch, dict) else None
    labels = batch.get(b"labels") if isinstance(batch, dict) else None
    right_images = isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim == 2
    if not right_images or images.shape[1] != 3 * _SIDE**2 or not isinstance(labels, list):
        raise UserError(f"{source}: expected `data`, uint8 [N, {3 * _SIDE**2}], and a list `labels`")
    if len(labels) != len(images) or any(type(label) is not int or not 0 <= label < len(_CLASSES) for label in labels):
        raise UserError(f"{source}: expected {len(images)} labels from 0 to {len(_CLASSES) - 1}")
    return images.reshape(-1, 3, _SIDE, _SIDE), labels


def _png(image: np.ndarray) -> bytes:
    blue_first = np.ascontiguousarray(image[::-1].transpose(1, 2, 0))
    return cv2.imencode(".png", blue_first)[1].tobytes()


def _from_tars(train: Path, val: Path) -> tuple[Iterator[tuple[str, bytes]], Lists]:
    lists = {
        split: _read_list(tar.with_name(f"{tar.stem}_list.txt")) for split, tar in (("train", train), ("val", val))
    }
    return (member for tar in (train, val) for member in _members(tar)), lists


def _read_list(path: Path) -> list[tuple[str, int]]:
    try:
        lines = read_text(path).splitlines()
    except UserError as error:
        raise UserError(f"--source: the list that belongs beside the tar: {error}") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        name, _, label = line.strip().rpartition(" ")
        if not name or label not in map(str, range(len(_CLASSES))):
            raise UserError(f"{path}:{number}: expected a path and a label from 0 to 9, found {line[:80]!r}")
        pairs.append((name, int(label)))
    return pairs


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ppcls_compress.data.cifar10", description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to make")
    parser.add_argument(
        "--source", nargs="+", default=[], metavar="FILE", help=f"{_ARCHIVE}, or train.tar val.tar, or a folder of them"
    )
    args = parser.parse_args(argv)

    return run(args.out, lambda: write_cifar10(args.out, args.source))


if __name__ == "__main__":
    sys.exit(main())

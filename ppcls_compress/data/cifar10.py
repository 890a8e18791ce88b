"""CIFAR-10 as image files with lists.

python -m ppcls_compress.data.cifar10 --out DIR                              # downloads the official archive
python -m ppcls_compress.data.cifar10 --out DIR --source cifar-10-python.tar.gz
python -m ppcls_compress.data.cifar10 --out DIR --source train.tar val.tar   # image tars, lists beside them
python -m ppcls_compress.data.cifar10 --out DIR --source FOLDER              # a folder that holds either
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from ppcls_compress.data import cifar_archives
from ppcls_compress.data.cifar_archives import CIFAR10
from ppcls_compress.data.writing import run, write_image_folder
from ppcls_compress.download import fetch
from ppcls_compress.errors import UserError
from ppcls_compress.text import read_text

_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

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
        archive, tars = folder / CIFAR10.name, [folder / "train.tar", folder / "val.tar"]
        if archive.is_file():
            return [archive]
        if not all(tar.is_file() for tar in tars):
            raise UserError(f"--source: {folder} holds neither {CIFAR10.name} nor train.tar and val.tar")
        return tars
    if len(sources) > 2:
        raise UserError(f"--source: expected one archive, two tars or a folder, found {len(sources)} paths")
    for source in sources:
        if not source.is_file():
            raise UserError(f"--source: no such file {source}")
    if len(sources) == 2 and sources[0].stem == "val" and sources[1].stem == "train":
        sources.reverse()
    return sources


def _from_archive(path: Path) -> tuple[Iterator[tuple[str, bytes]], Lists]:
    files: list[tuple[str, np.ndarray]] = []
    lists: Lists = {}
    for split, (images, labels) in cifar_archives.read(path, CIFAR10, ("train", "test")).items():
        lines = lists[_SPLITS[split]] = []
        for image, label in zip(images, labels, strict=True):
            file = f"{split}/{_CLASSES[label]}/{len(lines):05d}.png"
            files.append((file, image))
            lines.append((file, label))
    return ((name, _png(image)) for name, image in files), lists


_SPLITS = {"train": "train", "test": "val"}


def _png(image: np.ndarray) -> bytes:
    blue_first = np.ascontiguousarray(image[::-1].transpose(1, 2, 0))
    return cv2.imencode(".png", blue_first)[1].tobytes()


def _from_tars(train: Path, val: Path) -> tuple[Iterator[tuple[str, bytes]], Lists]:
    lists = {
        split: _read_list(tar.with_name(f"{tar.stem}_list.txt")) for split, tar in (("train", train), ("val", val))
    }
    return (member for tar in (train, val) for member in cifar_archives.members(tar)), lists


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
        "--source",
        nargs="+",
        default=[],
        metavar="FILE",
        help=f"{CIFAR10.name}, or train.tar val.tar, or their folder",
    )
    args = parser.parse_args(argv)

    return run(args.out, lambda: write_cifar10(args.out, args.source))


if __name__ == "__main__":
    sys.exit(main())

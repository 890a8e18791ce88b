"""Label files: lines `relative/path label`, read and checked in full before training starts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppcls_compress.errors import UserError

_LABEL = re.compile(r"[0-9]{1,18}")  # what fits into 64 bits


@dataclass(frozen=True)
class LabelledImages:
    """Image paths and their labels, int64 [N]."""

    paths: list[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)


def read_labelled_images(
    *, root: Path, label_file: Path, class_num: int, delimiter: str | None, relabel: bool, missing_allowed: int
) -> LabelledImages:
    """The images that a label file names, relative to `root`.

    Args:
        delimiter: what stands between path and label; None is white space.
        relabel: number the labels that occur 0, 1, ... in ascending order.
        missing_allowed: how many images need not exist.

    Raises:
        UserError: the label file has no lines, a malformed line, a label outside 0 .. class_num - 1, or it names more
            missing images than are allowed; with the file and the line.
    """
    names: list[str] = []
    labels: list[int] = []
    lines: list[int] = []
    for line, text in _lines(label_file):
        name, label = _parse(text, delimiter, f"{label_file}:{line}")
        names.append(name)
        labels.append(label)
        lines.append(line)
    if not names:
        raise UserError(f"{label_file}: the list is empty; expected lines `relative/path label`")
    found = np.array(labels, np.int64)
    if relabel:
        found = np.unique(found, return_inverse=True)[1].reshape(-1)
    _check_range(found, labels, class_num, label_file, lines)
    images = LabelledImages([os.path.join(root, name) for name in names], found)
    _check_existence(images, missing_allowed, label_file, lines)
    return images


def _lines(label_file: Path) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and texts, blank lines left out."""
    try:
        with open(label_file, encoding="utf-8-sig") as file:
            for line, text in enumerate(file, start=1):
                if text.strip():
                    yield line, text.strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{label_file}: not a text file in UTF-8 ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise UserError(f"{label_file}: cannot be read: {error.strerror}") from error


def _parse(text: str, delimiter: str | None, place: str) -> tuple[str, int]:
    parts = text.rsplit(delimiter, 1)
    if len(parts) == 2 and _LABEL.fullmatch(parts[1].strip()) and parts[0].strip():
        return parts[0].strip(), int(parts[1])
    between = "a space" if delimiter is None else repr(delimiter)
    raise UserError(f"{place}: expected a path, {between} and a label such as 0 or 7, found {text[:80]!r}")


def _check_range(labels: np.ndarray, written: list[int], class_num: int, label_file: Path, lines: list[int]) -> None:
    outside = np.flatnonzero(labels >= class_num)
    if len(outside):
        first = int(outside[0])
        others = f" (and {len(outside) - 1} more lines)" if len(outside) > 1 else ""
        raise UserError(
            f"{label_file}:{lines[first]}: label {written[first]} is outside 0 .. {class_num - 1}, "
            f"as Arch.class_num is {class_num}{others}"
        )


def _check_existence(images: LabelledImages, allowed: int, label_file: Path, lines: list[int]) -> None:
    """Looks for the files folder by folder: a million separate look-ups would take minutes on a network disk."""
    listings: dict[str, set[str]] = {}
    missing: list[int] = []
    for index, path in enumerate(images.paths):
        folder, name = os.path.split(path)
        if folder not in listings:
            listings[folder] = _listing(folder)
        if name not in listings[folder]:
            missing.append(index)
    if len(missing) > allowed:
        first = missing[0]
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        hint = f"; skip_bad_images allows {allowed}" if allowed else ""
        raise UserError(f"{label_file}:{lines[first]}: no such image {images.paths[first]}{others}{hint}")


def _listing(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise UserError(f"{folder}: the folder cannot be listed: {error.strerror}") from error


IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def list_images(path: str | Path) -> list[Path]:
    """The images that `path` stands for: an image, a folder of images (sorted by name), or a text file of image paths.

    The lines of a text file are relative to the folder it is in.

    Raises:
        UserError: nothing is there, it holds no images, or a line names a missing file.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file())
    elif path.suffix.lower() == ".txt" and path.is_file():
        found = []
        for line, text in _lines(path):
            found.append(path.parent / text)
            if not found[-1].is_file():
                raise UserError(f"{path}:{line}: no such image {found[-1]}")
    elif path.is_file():
        found = [path]
    else:
        raise UserError(f"{path}: no such file or folder")
    if not found:
        raise UserError(f"{path}: no images in it; looked for {', '.join(IMAGE_SUFFIXES)}")
    return found


def read_class_names(path: str | Path, class_num: int) -> list[str]:
    """The class names of a file with lines `index name`, by class index.

    Raises:
        UserError: a line is malformed or repeats an index, or an index of 0 .. class_num - 1 is missing; with file and
            line.
    """
    names: dict[int, str] = {}
    for line, text in _lines(Path(path)):
        index, _, name = text.partition(" ")
        if not _LABEL.fullmatch(index) or not name.strip():
            raise UserError(f"{path}:{line}: expected a class index, a space and a name, found {text[:80]!r}")
        if int(index) in names or int(index) >= class_num:
            what = "is given twice" if int(index) in names else f"is outside 0 .. {class_num - 1}"
            raise UserError(f"{path}:{line}: class index {index} {what}")
        names[int(index)] = name.strip()
    missing = [index for index in range(class_num) if index not in names]
    if missing:
        raise UserError(f"{path}: no name for class {missing[0]}; Arch.class_num is {class_num}")
    return [names[index] for index in range(class_num)]

"""Lists and folders of images that each show one of many identities, seen by a camera; read and checked in full."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ppcls_compress.data.labels import LabelledImages, check_places, check_range, lines_of, parsed
from ppcls_compress.data.places import Places
from ppcls_compress.errors import UserError, shortened

_INDEX = re.compile(r"[0-9]{1,18}")
Parse = Callable[[str], tuple[str, list[int]] | str | None]
"""A line to a name and its labels; to what is wrong with it, a hint or an empty text; to None where it is no image."""


def read_listed_identities(
    parse: Parse,
    *,
    expected: str,
    places: Places,
    label_file: Path,
    class_num: int,
    missing_allowed: int,
    where: str,
) -> LabelledImages:
    """The images that a list names, with labels int64 [N], or [N, 2] with the camera second.

    Args:
        parse: reads a line.
        expected: what a line is, for messages.
        places: the folder that names are relative to.
        class_num: identities lie below it.
        missing_allowed: how many images need not exist.
        where: the key of the data set's section, for messages.

    Raises:
        UserError: the list has no images, a line of another kind, an identity that is too large, or missing images;
            with file and line.
    """

    def checked(text: str, place: str) -> tuple[str, list[int]] | None:
        found = parse(text)
        if isinstance(found, str):
            raise UserError(f"{place}: expected {expected}, found {shortened(text, 80)}{found}")
        return found

    names, labels, lines = parsed(label_file, checked, expected=f"of {expected}")
    array = np.array(labels, np.int64)
    check_range(array[:, 0], [row[0] for row in labels], class_num, label_file, lines)
    check_places(places, names, label_file, lines, missing_allowed=missing_allowed, where=where)
    return LabelledImages([places.path(name) for name in names], array[:, 0] if array.shape[1] == 1 else array)


def with_camera(text: str) -> tuple[str, list[int]] | str:
    """`relative/path identity camera`."""
    parts = text.rsplit(None, 2)
    if len(parts) == 3 and all(_INDEX.fullmatch(part) for part in parts[1:]):
        return parts[0], [int(parts[1]), int(parts[2])]
    two = text.rsplit(None, 1)
    alone = len(two) == 2 and _INDEX.fullmatch(two[1])
    return "; a list without cameras is for name: ImageNetDataset" if alone else ""


def after(delimiter: str | None) -> Parse:
    """`relative/path identity`, with this delimiter between, None for white space."""

    def parse(text: str) -> tuple[str, list[int]] | str:
        parts = text.rsplit(delimiter, 1)
        if len(parts) == 2 and _INDEX.fullmatch(parts[1].strip()) and parts[0].strip():
            return parts[0].strip(), [int(parts[1])]
        spaced = delimiter is not None and isinstance(after(None)(text), tuple)
        return "; a list with spaces between is for name: ImageNetDataset" if spaced else ""

    return parse


def of_logos(text: str) -> tuple[str, list[int]] | str | None:
    """Columns with tabs between: the second is the class, counted from 1, the fourth the path; the first is a title."""
    parts = text.split("\t")
    if parts[0] == "image_id":
        return None
    if len(parts) >= 4 and _INDEX.fullmatch(parts[1]) and int(parts[1]) >= 1:
        return parts[3], [int(parts[1]) - 1]
    return ""


def read_named_identities(
    folder: Path, pattern: re.Pattern[str], *, relabel: bool, class_num: int, cameras: int
) -> LabelledImages:
    """The .jpg files of a folder whose names begin with identity and camera, labels int64 [N, 2] in the order of names.

    An identity of -1 is no person, and the image is left out; cameras are counted from 1 in names and from 0 here.

    Args:
        pattern: finds identity and camera in a name.
        relabel: number the identities 0, 1, ... in ascending order.
        class_num: identities lie below it.
        cameras: how many there are.

    Raises:
        UserError: there is no such file, or one has another name.
    """
    names, labels = [], []
    for path in sorted(folder.glob("*.jpg")):
        match = pattern.match(path.name)
        if match is None or not 1 <= int(match[2]) <= cameras:
            raise UserError(
                f"{path}: expected a name such as 0002_c1s1_000451_03.jpg, identity and camera 1 to {cameras}"
            )
        if int(match[1]) >= 0:
            names.append(str(path))
            labels.append((int(match[1]), int(match[2]) - 1))
    if not names:
        raise UserError(f"{folder}: has no .jpg files with identity and camera in their names")
    array, numbering = np.array(labels, np.int64), None
    if relabel:
        numbering, array[:, 0] = np.unique(array[:, 0], return_inverse=True)
    if array[:, 0].max() >= class_num:
        first = int(np.argmax(array[:, 0] >= class_num))
        raise UserError(
            f"{names[first]}: identity {array[first, 0]} is outside 0 .. {class_num - 1}, as the head tells "
            f"{class_num} apart; the folder has {len(np.unique(array[:, 0]))}"
        )
    return LabelledImages(names, array, numbering)


def read_box(path: Path) -> list[int]:
    """The box x1 y1 x2 y2 in the last line of a file.

    Raises:
        UserError: there is no such file, or no box in it.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; the box of each image is read from there")
    lines = list(lines_of(path))
    parts = lines[-1][1].split() if lines else []
    if len(parts) != 4 or not all(_INDEX.fullmatch(part) for part in parts):
        found = shortened(lines[-1][1], 80) if lines else "an empty file"
        raise UserError(f"{path}: expected a box x1 y1 x2 y2 in the last line, found {found}")
    x1, y1, x2, y2 = map(int, parts)
    if x2 <= x1 or y2 <= y1:
        raise UserError(f"{path}: the box {' '.join(parts)} is empty; expected x1 < x2 and y1 < y2")
    return [x1, y1, x2, y2]

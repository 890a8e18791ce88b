"""Label files of images with several labels each: lines `relative/path 0,1,0`, read and checked in full."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ppcls_compress.data.labels import LabelledImages, check_places, parsed
from ppcls_compress.data.places import Places
from ppcls_compress.errors import UserError, shortened
from ppcls_compress.outputs import UNKNOWN

_LABELS = re.compile(r"\s*(0|1|-1)\s*(,\s*(0|1|-1)\s*)*")


def read_attribute_images(
    *, places: Places, label_file: Path, class_num: int, with_shares: bool, missing_allowed: int, where: str
) -> LabelledImages:
    """The images that a label file names, with a label 1, 0 or -1 (not known) for each of `class_num` attributes.

    Args:
        places: the folder that names are relative to.
        with_shares: hand the share of images that have each label on with the labels.
        missing_allowed: how many images need not exist.
        where: the key of the data set's section, for messages.

    Raises:
        UserError: the label file has no lines, a malformed line, one with another number of labels, a name that leads
            outside the folder where it must not, or more missing images than are allowed; with the file and the line.
    """
    names, rows, lines = parsed(
        label_file, lambda text, place: _parse(text, class_num, place), expected="`relative/path 0,1,...`"
    )
    check_places(places, names, label_file, lines, missing_allowed=missing_allowed, where=where)
    labels = np.stack(rows)
    shares = _shares(labels) if with_shares else None
    return LabelledImages([places.path(name) for name in names], labels, shares=shares)


def _parse(text: str, class_num: int, place: str) -> tuple[str, np.ndarray]:
    parts = text.split("\t") if "\t" in text else text.rsplit(None, 1)
    if len(parts) != 2 or not _LABELS.fullmatch(parts[1]) or not parts[0].strip():
        expected = f"a path, a tab and {class_num} labels 0, 1 or -1 with commas between them"
        raise UserError(f"{place}: expected {expected}, found {shortened(text, 80)}{_hint(parts)}")
    labels = parts[1].split(",")
    if len(labels) != class_num:
        raise UserError(
            f"{place}: {len(labels)} label{'s' if len(labels) > 1 else ''} found, Arch.class_num is "
            f"{class_num}{_hint(parts)}"
        )
    return parts[0].strip(), np.array(labels, np.float32)


def _hint(parts: list[str]) -> str:
    """What a line may be that is none of such a list, as the end of a message."""
    if len(parts) == 2 and re.fullmatch(r"\s*[0-9]+\s*", parts[1]):
        return "; the line has one class: such lists are for name: ImageNetDataset"
    return ""


def _shares(labels: np.ndarray) -> np.ndarray:
    """The share of images that have each label, float32 [C], of those of which it is known."""
    known = (labels != UNKNOWN).sum(axis=0)
    return ((labels == 1).sum(axis=0) / np.maximum(known, 1)).astype(np.float32)

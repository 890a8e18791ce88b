"""Label files: lines `relative/path label`, read and checked in full before training starts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from ppcls_compress.data.places import Found, Places, why_missing
from ppcls_compress.errors import UserError, cut, shortened
from ppcls_compress.text import read_text

Label = TypeVar("Label")
_LABEL = re.compile(r"[0-9]{1,18}")  # what fits into 64 bits


@dataclass(frozen=True)
class LabelledImages:
    """Image paths and their labels.

    Attributes:
        labels: int64 [N]; int64 [N, 2], identities and cameras; or float32 [N, C] of images with several labels each.
        numbering: what their list calls the classes 0, 1, ..., int64 [K], where `relabel` numbers them; None elsewhere.
        shares: the share of images that have each label, float32 [C], where a loss is to know it.
        pixels: the images themselves, uint8 [N, H, W, 3], blue first, where they are in no files of their own.
        boxes: the part of each image that is used, x1 y1 x2 y2, int64 [N, 4]; None for all of it.
    """

    paths: list[str]
    labels: np.ndarray
    numbering: np.ndarray | None = None
    shares: np.ndarray | None = None
    boxes: np.ndarray | None = None
    pixels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def box(self, position: int) -> tuple[int, ...] | None:
        """The part of an image that is used, x1 y1 x2 y2; None for all of it."""
        return None if self.boxes is None else tuple(self.boxes[position].tolist())

    def targets(self, positions: Sequence[int]) -> np.ndarray:
        """The labels of some images as a batch has them; with the shares of labels [N, 2, C], these second."""
        labels = self.labels[np.asarray(positions, np.int64)]
        if self.shares is None:
            return labels
        return np.stack([labels, np.broadcast_to(self.shares, labels.shape)], axis=1)


def read_labelled_images(
    *,
    places: Places,
    label_file: Path,
    class_num: int,
    delimiter: str | None,
    relabel: bool,
    missing_allowed: int,
    where: str,
) -> LabelledImages:
    """The images that a label file names.

    Args:
        places: the folder that names are relative to.
        delimiter: what stands between path and label; None is white space.
        relabel: number the labels that occur 0, 1, ... in ascending order.
        missing_allowed: how many images need not exist.
        where: the key of the data set's section, for messages.

    Raises:
        UserError: the label file has no lines, a malformed line, a label outside 0 .. class_num - 1, a name that leads
            outside the folder where it must not, or more missing images than are allowed; with the file and the line.
    """
    names, labels, lines = parsed(
        label_file, lambda text, place: _parse(text, delimiter, place), expected="`relative/path label`"
    )
    found, numbering = np.array(labels, np.int64), None
    if relabel:
        numbering, found = np.unique(found, return_inverse=True)
        found = found.reshape(-1)
    check_range(found, labels, class_num, label_file, lines)
    check_places(places, names, label_file, lines, missing_allowed=missing_allowed, where=where)
    return LabelledImages([places.path(name) for name in names], found, numbering)


def parsed(
    label_file: Path, parse: Callable[[str, str], tuple[str, Label] | None], *, expected: str
) -> tuple[list[str], list[Label], list[int]]:
    """The names, the labels and the line numbers of a list.

    Args:
        parse: (text of a line, file and line for messages) -> name and label, or None for a line that has none.
        expected: what its lines are, for the message.

    Raises:
        UserError: the list has no images; and as `parse`.
    """
    names: list[str] = []
    labels: list[Label] = []
    lines: list[int] = []
    for line, text in lines_of(label_file):
        found = parse(text, f"{label_file}:{line}")
        if found is not None:
            names.append(found[0])
            labels.append(found[1])
            lines.append(line)
    if not names:
        raise UserError(f"{label_file}: the list is empty; expected lines {expected}")
    return names, labels, lines


def lines_of(label_file: Path) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and texts, blank lines left out."""
    for line, text in enumerate(read_text(label_file).split("\n"), start=1):
        if text.strip():
            yield line, text.strip()


def _parse(text: str, delimiter: str | None, place: str) -> tuple[str, int]:
    parts = text.rsplit(delimiter, 1)
    if len(parts) == 2 and _LABEL.fullmatch(parts[1].strip()) and parts[0].strip():
        return parts[0].strip(), int(parts[1])
    between = "a space" if delimiter is None else repr(delimiter)
    found = f"{shortened(text, 80)}{_hint(text, delimiter)}"
    raise UserError(f"{place}: expected a path, {between} and a label such as 0 or 7, found {found}")


def _hint(text: str, delimiter: str | None) -> str:
    """What a line may be that is none of a list, as the end of a message."""
    if re.fullmatch(r".*\S\s+-?[0-9]+\s*(,\s*-?[0-9]+\s*)+", text):
        return "; the line has several labels: such lists are for name: MultiLabelDataset"
    other = re.fullmatch(r".*\S([,;|:\t ])\s*[0-9]+", text)
    if other is not None and other[1] != delimiter:
        return f"; the data set's delimiter: {other[1]!r} would fit"
    if re.match(r"[0-9]+[\s,;]+\S*\.\w+$", text):
        return "; the label comes after the path"
    return ""


def check_range(labels: np.ndarray, written: list[int], class_num: int, label_file: Path, lines: list[int]) -> None:
    """Refuse a label that is not below `class_num`; `written` is what the list has. As `read_labelled_images`."""
    outside = np.flatnonzero(labels >= class_num)
    if not len(outside):
        return
    first = int(outside[0])
    others = f" (and {len(outside) - 1} more lines)" if len(outside) > 1 else ""
    from_one = labels.min() == 1 and labels.max() == class_num
    hint = "; the list counts its labels from 1, they must be from 0: relabel: True does that" if from_one else ""
    raise UserError(
        f"{label_file}:{lines[first]}: label {written[first]} is outside 0 .. {class_num - 1}, "
        f"as Arch.class_num is {class_num}{others}{hint}"
    )


def check_places(
    places: Places, names: list[str], label_file: Path, lines: list[int], *, missing_allowed: int, where: str
) -> None:
    """Refuse names of images that are not there, or lead outside the folder; as `read_labelled_images`."""
    missing: list[int] = []
    for index, name in enumerate(names):
        found = places.look(name)
        if found is Found.MISSING:
            missing.append(index)
        elif found is Found.OUTSIDE:
            raise UserError(
                f"{label_file}:{lines[index]}: {shortened(name, 200)} leads outside {where}.image_root, by its path or "
                f"behind a link; if that is meant, set {where}.allow_outside to True"
            )
    if len(missing) > missing_allowed:
        first = missing[0]
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        hint = f"; skip_bad_images allows {missing_allowed}" if missing_allowed else ""
        path, why = places.path(names[first]), why_missing(places.root, names[first])
        raise UserError(f"{label_file}:{lines[first]}: no such image {cut(path, 300)}{others}{hint}{why}")


def read_listed(path: Path) -> list[Path]:
    """The files that a text file names, one in a line, relative to the folder it is in.

    Raises:
        UserError: one is not there; with file and line.
    """
    found = []
    for line, text in lines_of(path):
        found.append(path.parent / text)
        if not found[-1].is_file():
            raise UserError(f"{path}:{line}: no such image {found[-1]}{why_missing(path.parent, text)}")
    return found


def read_class_names(path: str | Path, class_num: int, *, delimiter: str | None = None) -> list[str]:
    """The class names of a file with lines `index name`, by class index.

    Args:
        delimiter: what stands between index and name; None is white space.

    Raises:
        UserError: a line is malformed or repeats an index, or an index of 0 .. class_num - 1 is missing; with file and
            line.
    """
    names: dict[int, str] = {}
    lines = list(lines_of(Path(path)))
    from_one = [text.split(delimiter, 1)[0] for _, text in lines] == [str(index) for index in range(1, class_num + 1)]
    if from_one:
        raise UserError(f"{path}: its indices are counted from 1 to {class_num}; they must be from 0, as labels are")
    for line, text in lines:
        index, name = (*text.split(delimiter, 1), "")[:2]
        if not _LABEL.fullmatch(index) or not name:
            raise UserError(f"{path}:{line}: expected a class index, a space and a name, found {shortened(text, 80)}")
        if int(index) in names or int(index) >= class_num:
            what = "is given twice" if int(index) in names else f"is outside 0 .. {class_num - 1}"
            raise UserError(f"{path}:{line}: class index {index} {what}")
        names[int(index)] = name
    missing = [index for index in range(class_num) if index not in names]
    if missing:
        raise UserError(f"{path}: no name for class {missing[0]}; Arch.class_num is {class_num}")
    return [names[index] for index in range(class_num)]

"""Pairs of aligned faces: memory-mapped arrays of prepared images, and whether the two of a pair are one person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from ppcls_compress import io
from ppcls_compress.errors import UserError, one_line

SETS = ("agedb_30", "cfp_fp", "lfw", "cplfw", "calfw")


@dataclass(frozen=True)
class FacePairs:
    """One set of pairs.

    Attributes:
        name: of the set.
        images: float32 [2 P, 3, H, W], the two of a pair one after the other.
        same: whether they are of one person, bool [P].
    """

    name: str
    images: np.ndarray
    same: np.ndarray

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """The images, `size` at a time."""
        for start in range(0, len(self.images), size):
            yield np.asarray(self.images[start : start + size], np.float32)


def read_pairs(folder: Path) -> list[FacePairs]:
    """The sets that are in a folder, of AgeDB-30, CFP-FP, LFW, CPLFW and CALFW, in this order.

    Raises:
        UserError: there is none, or the files of one do not fit each other.
    """
    found = [_read(folder, name) for name in SETS if (folder / f"{name}_list.npy").is_file()]
    if not found:
        raise UserError(f"{folder}: has none of {', '.join(f'{name}_list.npy' for name in SETS)}")
    return found


def _read(folder: Path, name: str) -> FacePairs:
    file = folder / name / "memfile" / "mem_file.dat"
    if not file.is_file():
        raise UserError(
            f"{file}: no such file; of a set that is stored by bcolz, PaddleClas' or AdaFace's own reader makes it"
        )
    described = io.read_json(Path(f"{file}.conf"))
    try:
        shape, dtype = tuple(int(size) for size in described["shape"]), np.dtype(described["dtype"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file}.conf: expected shape and dtype of the array, found {described!r}") from error
    fits = len(shape) == 4 and min(shape) > 0 and dtype.kind in "fiu"
    if not fits or prod(shape) * dtype.itemsize != file.stat().st_size:
        raise UserError(f"{file}: {file.stat().st_size} bytes, which are not {list(shape)} of {dtype}")
    same = _same(folder / f"{name}_list.npy")
    if shape[0] != 2 * len(same):
        raise UserError(f"{file}: {shape[0]} images, but {name}_list.npy is of {len(same)} pairs")
    return FacePairs(name, np.memmap(file, mode="r", shape=shape, dtype=dtype), same)


def _same(path: Path) -> np.ndarray:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: not an array that NumPy has written: {one_line(error, 200)}") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
        raise UserError(f"{path}: expected an array of True and False, whether pairs are of one person")
    return found.astype(bool).reshape(-1)

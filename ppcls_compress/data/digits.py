"""scikit-learn's digits, 1,797 real scans of 8x8 pixels, as a data set on disk: no download.

python -m ppcls_compress.data.digits --out DIR
python -m ppcls_compress.data.digits --out DIR --attributes    # two labels each: larger than four, odd
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ppcls_compress.data.writing import run, write_image_folder
from ppcls_compress.errors import MissingDependencyError

_CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_WHITE = 16  # the scans' brightest value
_EVERY = 5  # every fifth image of a class is for validation


def write_digits(out: str | Path, *, attributes: bool = False) -> tuple[int, int, bool]:
    """Write the data set; nothing happens if it is there already.

    Args:
        attributes: two labels for each image, whether its digit is larger than four and whether it is odd, instead of
            one class.

    Returns:
        Images for training, images for validation, and whether they were written now.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
        UserError: `out` holds something else or cannot be written.
    """
    images, labels = _load()
    names = [f"images/{label}/{index:04d}.png" for index, label in enumerate(labels)]
    by_class = np.argsort(labels, kind="stable")
    for_validation = np.zeros(len(labels), bool)
    for_validation[by_class[::_EVERY]] = True
    lists = {
        split: [
            (names[index], _attributes(labels[index]) if attributes else int(labels[index]))
            for index in np.flatnonzero(chosen)
        ]
        for split, chosen in (("train", ~for_validation), ("val", for_validation))
    }
    name = "digits with attributes" if attributes else "digits"
    written = write_image_folder(
        out,
        description={"name": name, "source": "sklearn.datasets.load_digits", "split": 1},
        classes=_ATTRIBUTES if attributes else _CLASSES,
        files=((name, _png(image)) for name, image in zip(names, images, strict=True)),
        lists=lists,
        separator="\t" if attributes else " ",
    )
    return len(lists["train"]), len(lists["val"]), written


_ATTRIBUTES = ("larger_than_four", "odd")


def _attributes(digit: int) -> str:
    """The labels of a digit, as a list of attributes has them."""
    return f"{int(digit > 4)},{digit % 2}"


def _load() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependencyError(
            "the digits are part of scikit-learn, which is not installed: pip install scikit-learn"
        ) from error
    data = load_digits()
    return data.images, data.target


def _png(image: np.ndarray) -> bytes:
    grey = np.rint(image * (255 / _WHITE)).astype(np.uint8)
    return cv2.imencode(".png", grey)[1].tobytes()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ppcls_compress.data.digits", description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to make")
    parser.add_argument("--attributes", action="store_true", help="two labels for each image: larger than four, odd")
    args = parser.parse_args(argv)

    return run(args.out, lambda: write_digits(args.out, attributes=args.attributes))


if __name__ == "__main__":
    sys.exit(main())

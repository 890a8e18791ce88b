"""The images that a path stands for, for inference."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ppcls_compress.data.labels import read_listed
from ppcls_compress.declare.paths import instead_of
from ppcls_compress.errors import UserError

SUFFIXES = (".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def list_images(path: str | Path) -> list[Path]:
    """The images that `path` stands for: an image, a folder of images, or a text file of image paths.

    Of a folder and the folders in it, files with the ending of an image count, in the order of their names; hidden
    folders and links to folders are passed over. The lines of a text file are relative to the folder it is in.

    Raises:
        UserError: nothing is there, it holds no images, or a line names a missing file.
    """
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in names_below(path) if is_image_name(name)]
    elif path.suffix.lower() == ".txt" and path.is_file():
        found = read_listed(path)
    elif path.exists():
        found = [path]
    else:
        raise UserError(f"{path}: no such file or folder{instead_of(path)}")
    if not found:
        raise UserError(f"{path}: no images in it; looked for {', '.join(SUFFIXES)}")
    return found


def left_out(path: str | Path) -> list[str]:
    """The names of what `list_images` passes over in a folder, folders with a slash; empty for anything else."""
    path = Path(path)
    return [name for name in names_below(path) if not is_image_name(name)] if path.is_dir() else []


def names_below(root: Path) -> Iterator[str]:
    """What is in a folder and in those inside it, relative to it and in order; folders that are not entered end in `/`.

    Raises:
        UserError: a folder cannot be listed.
    """
    for folder, inner, files in os.walk(root, onerror=_unlisted):
        shut = [name for name in inner if name.startswith(".") or os.path.islink(os.path.join(folder, name))]
        inner[:] = sorted(set(inner) - set(shut))
        place = os.path.relpath(folder, root)
        for name in sorted([*files, *(f"{name}/" for name in shut)]):
            yield name if place == os.curdir else f"{place}/{name}"


def is_image_name(name: str) -> bool:
    """Whether a name has the ending of an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _unlisted(error: OSError) -> None:
    raise UserError(f"{error.filename}: the folder cannot be listed: {error.strerror}") from error

"""The images that a path stands for, for inference."""

from __future__ import annotations

from pathlib import Path

from ppcls_compress.data.labels import read_listed
from ppcls_compress.errors import UserError

SUFFIXES = (".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def list_images(path: str | Path) -> list[Path]:
    """The images that `path` stands for: an image, a folder of images (sorted by name), or a text file of image paths.

    The lines of a text file are relative to the folder it is in. Of a folder, files with the ending of an image count.

    Raises:
        UserError: nothing is there, it holds no images, or a line names a missing file.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(entry for entry in path.iterdir() if _is_image(entry))
    elif path.suffix.lower() == ".txt" and path.is_file():
        found = read_listed(path)
    elif path.exists():
        found = [path]
    else:
        raise UserError(f"{path}: no such file or folder")
    if not found:
        raise UserError(f"{path}: no images in it; looked for {', '.join(SUFFIXES)}")
    return found


def left_out(path: str | Path) -> list[str]:
    """The names of what `list_images` passes over in a folder, sub-folders with a slash; empty for anything else."""
    path = Path(path)
    if not path.is_dir():
        return []
    others = sorted(entry for entry in path.iterdir() if not _is_image(entry))
    return [f"{entry.name}/" if entry.is_dir() else entry.name for entry in others]


def _is_image(entry: Path) -> bool:
    return entry.suffix.lower() in SUFFIXES and not entry.is_dir()

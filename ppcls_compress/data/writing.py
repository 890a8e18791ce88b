"""Data sets on disk: images, `train_list.txt`, `val_list.txt` and `label_list.txt`, written whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ppcls_compress.errors import UserError

MANIFEST = "dataset.json"
"""What a finished folder is known by."""


def write_image_folder(
    out: str | Path,
    *,
    description: Mapping[str, object],
    classes: Sequence[str],
    files: Iterable[tuple[str, bytes]],
    lists: Mapping[str, Sequence[tuple[str, int | str]]],
    separator: str = " ",
) -> bool:
    """Write a data set in PaddleClas's layout.

    Args:
        out: the folder to make.
        description: what it is and from where; kept in `dataset.json`, by which a finished folder is known again.
        classes: names, by label; `label_list.txt` gets lines `label name`.
        files: relative paths with the files' bytes; only those that a list names are written.
        lists: `train` and `val` to (relative path, label) lines.
        separator: what stands between path and label.

    Returns:
        False if the folder is there already, with the same description.

    Raises:
        UserError: the folder holds something else, a listed file is not among `files`, or a path leads outside.
    """
    out = Path(out)
    if _is_finished(out, description):
        return False
    listed = {name for lines in lists.values() for name, _ in lines}
    for name in listed:
        _check_relative(name)
    with _new_folder(out) as folder:
        missing = listed - set(_write_files(folder, files, listed))
        if missing:
            raise UserError(f"{len(missing)} listed images are not in the source, for one {min(missing)}")
        for split, lines in lists.items():
            _write_text(folder / f"{split}_list.txt", "".join(f"{name}{separator}{label}\n" for name, label in lines))
        _write_text(folder / "label_list.txt", "".join(f"{label} {name}\n" for label, name in enumerate(classes)))
        _write_text(folder / MANIFEST, json.dumps(description, indent=1) + "\n")
    return True


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def run(out: str, write: Callable[[], tuple[int, int, bool]]) -> int:
    """Run a command line that writes to `out`; a user's mistake is one line on standard error.

    Args:
        write: returns the numbers of images for training and validation, and whether they were written now.

    Returns:
        The exit code, 0 or 2.
    """
    try:
        train, val, written = write()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    already = "" if written else " (there already)"
    sys.stdout.write(f"{out}: {train} images for training, {val} for validation{already}\n")
    return 0


def _is_finished(out: Path, description: Mapping[str, object]) -> bool:
    if not out.exists():
        return False
    if not out.is_dir():
        raise UserError(f"{out} is a file; give a folder that is new or empty")
    if not any(out.iterdir()):
        return False
    if described(out) == dict(description):
        return True
    raise UserError(f"{out} is not empty and holds something else; give a folder that is new or empty")


def described(folder: Path) -> dict[str, object]:
    """What a folder tells in `dataset.json`; nothing where it has none that can be read."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _check_relative(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or any(character.isspace() for character in name):
        raise UserError(f"the source names an image {name!r}, which is not a path below the data set's folder")


def _write_files(folder: Path, files: Iterable[tuple[str, bytes]], listed: set[str]) -> Iterator[str]:
    folders: set[Path] = set()
    for name, data in files:
        if name not in listed:
            continue
        path = folder / name
        if path.parent not in folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.add(path.parent)
        path.write_bytes(data)
        yield name


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its name when the block succeeds and is removed when it fails."""
    partial = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        partial.mkdir(parents=True)
        yield partial
        os.replace(partial, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)

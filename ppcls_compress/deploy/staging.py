"""How the files of an artifact take their place: all of them or none, whenever the process is killed.

The earlier files are moved into the temporary folder first, the description before the others, and the new ones are
put in place, the description last. So what has a description is complete; and what has none, because a process was
killed in between, is put back by whoever comes next; the temporary folder tells what was to come.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ppcls_compress import io
from ppcls_compress.errors import UserError

DESCRIPTION = "inference.yml"
RECORD = "slim.json"
_PARTIAL = ".partial-"
_EARLIER = "earlier"
_NAMES = "names"


@contextmanager
def staged(directory: str | Path, names: Sequence[str]) -> Iterator[Path]:
    """An empty folder for the files of an artifact, which replace those in `directory` when the block succeeds.

    After a failure `directory` holds what it held before. Other files and sub-folders are left alone. The description
    is taken away first and put in place last: what has one is complete, even if the process was killed.

    Args:
        directory: made if it is not there.
        names: of the network files that this artifact, or an earlier one of its format, may have.

    Raises:
        UserError: the folder cannot be written.
    """
    directory = Path(directory)
    with _partial(directory) as staging:
        yield staging
        _replace(staging, directory, names)


def check_writable(directory: str | Path) -> None:
    """Find out early whether an artifact can be put into a folder; nothing of it stays.

    Raises:
        UserError: it cannot.
    """
    with _partial(Path(directory)):
        pass


def withdraw(directory: str | Path, names: Sequence[str]) -> bool:
    """Remove an artifact, its description first, and its folder if nothing else is in it.

    Args:
        directory: of the artifact.
        names: of its network files.

    Returns:
        Whether there was one.

    Raises:
        UserError: it cannot be removed.
    """
    directory = Path(directory)
    if not (directory / DESCRIPTION).is_file():
        return False
    try:
        for name in (DESCRIPTION, *names, RECORD):
            (directory / name).unlink(missing_ok=True)
        if not any(directory.iterdir()):
            directory.rmdir()
    except OSError as error:
        raise UserError(f"{directory}: an earlier export cannot be removed: {error.strerror}") from error
    return True


@contextmanager
def _partial(directory: Path) -> Iterator[Path]:
    """A temporary folder in `directory`, which is made for it if need be, and removed with it if it stays empty."""
    made = io.missing_folders(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for leftover in directory.glob(f"{_PARTIAL}*"):
            if not _in_use(leftover):
                put_back(directory)
                shutil.rmtree(leftover, ignore_errors=True)  # a process that starts now may remove the same
        staging = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{os.getpid()}-", dir=directory))
    except OSError as error:
        raise UserError(f"{directory}: cannot be written: {error.strerror}") from error
    try:
        yield staging
    except OSError as error:  # of the writer's own temporary files too, which it names
        named = Path(error.filename).resolve() if isinstance(error.filename, str) else directory.resolve()
        place = directory if named.is_relative_to(directory.resolve()) else named
        raise UserError(f"{place}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        io.remove_empty(made)


def _in_use(staging: Path) -> bool:
    """Whether the process that made a temporary folder still runs."""
    process = staging.name.removeprefix(_PARTIAL).partition("-")[0]
    if not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _replace(staging: Path, directory: Path, names: Sequence[str]) -> None:
    earlier = staging / _EARLIER
    earlier.mkdir()
    names = (*names, RECORD)
    (staging / _NAMES).write_text("\n".join(name for name in names if (staging / name).exists()))
    moves = [(directory / name, earlier / name) for name in (DESCRIPTION, *names)]
    moves += [(staging / name, directory / name) for name in (*names, DESCRIPTION)]
    for source, _ in moves:
        if source.parent == staging and source.exists():
            with open(source, "rb") as file:
                os.fsync(file.fileno())
    done = []
    try:
        for source, target in moves:
            if source.exists():
                os.replace(source, target)
                done.append((source, target))
    except OSError:
        for source, target in reversed(done):
            os.replace(target, source)
        raise


def put_back(directory: Path) -> None:
    """Make a folder what it was before, where a process was killed while an artifact was taking its place in it."""
    if (directory / DESCRIPTION).exists():
        return
    for staging in directory.glob(f"{_PARTIAL}*"):
        earlier = staging / _EARLIER
        if _in_use(staging) or not (staging / _NAMES).is_file():
            continue
        with contextlib.suppress(OSError):  # a folder that is not ours to write to stays as it is
            for name in filter(_is_plain, (staging / _NAMES).read_text().split("\n")):
                if not (staging / name).exists():  # it is in place already
                    (directory / name).unlink(missing_ok=True)
            for path in sorted(earlier.iterdir(), key=lambda path: path.name == DESCRIPTION):
                os.replace(path, directory / path.name)
            shutil.rmtree(staging, ignore_errors=True)


def _is_plain(name: str) -> bool:
    """Whether a name stays in its folder, whoever wrote it."""
    return Path(name).name == name and name not in ("", "..")

"""Files: atomic writes, JSON, checksums, and Paddle state files read without running what is in them.

A `.pdparams`, `.pdopt` or `.pdstates` file is a pickle, and an ordinary unpickler calls whatever the pickle names;
`restricted_pickle` reads them.

This module is a leaf: every other package may import it. It does not import Paddle.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import pickle
import platform
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_compress import restricted_pickle
from ppcls_compress.errors import UserError

_WEIGHTS_SUFFIX = ".pdparams"
_SAFE_SUFFIX = ".safetensors"
_NAME_TABLE = "StructuredToParameterName@@"
_SLICE_TABLE = "UnpackBigParamInfor@@"
_SCALARS = (str, bytes, int, float, complex, bool, type(None), np.generic)


def plain_prefix(path: str | Path) -> Path:
    """The path of weights or of a checkpoint without `.pdparams`, which users may write or leave out."""
    return Path(str(path).removesuffix(_WEIGHTS_SUFFIX))


def weights_file(path: str | Path) -> Path:
    """The file of weights of a path that may leave `.pdparams` out, or name a `.safetensors` file.

    Without an ending it is the `.safetensors` file only where there is no other.
    """
    if str(path).endswith(_SAFE_SUFFIX):
        return Path(path)
    prefix = plain_prefix(path)
    plain, safe = Path(f"{prefix}{_WEIGHTS_SUFFIX}"), Path(f"{prefix}{_SAFE_SUFFIX}")
    only_safe = os.path.isfile(safe) and not os.path.exists(plain)
    return safe if only_safe and prefix == Path(path) else plain


def make_folder(path: str | Path) -> Path:
    """Make a folder and those that it is in, unless it is there.

    Raises:
        UserError: it cannot be made; the message says why.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made a folder: {error.strerror}") from error
    return path


def missing_folders(path: str | Path) -> list[Path]:
    """What `make_folder` would make: the folder and those that it is in, innermost first, but those that exist."""
    path = Path(path)
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove those of some folders in which nothing is, in this order."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path in the folder of `path` to write to; it takes the name `path` when the block succeeds.

    The folder is created. After a failure `path` is what it was before and the temporary file is gone.

    Raises:
        UserError: the file or its folder cannot be written.
    """
    with atomic_files([path]) as (partial,):
        yield partial


@contextmanager
def atomic_files(paths: Sequence[str | Path]) -> Iterator[tuple[Path, ...]]:
    """As `atomic` for files that belong together: they take their names, in this order, when all of them are written.

    A process that is killed between two of these renames leaves new files beside old ones, but nothing slow happens
    between them.

    Raises:
        UserError: a file or its folder cannot be written.
    """
    paths = [_target(Path(path)) for path in paths]
    for path in paths:
        make_folder(path.parent)
    partials = tuple(map(_beside, paths))
    try:
        yield partials
        for partial in partials:
            with open(partial, "rb") as file:
                os.fsync(file.fileno())  # or a power cut could leave the new name on an empty file
        for partial, path in zip(partials, paths, strict=True):
            _take_place(partial, path)
    except OSError as error:
        target = {None: paths[0], **{str(partial): path for partial, path in zip(partials, paths, strict=True)}}
        name = None if error.filename is None else str(error.filename)
        if name not in target:  # the block failed on another file
            raise
        raise UserError(f"{target[name]}: cannot be written: {error.strerror or error}") from error
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)


def _target(path: Path) -> Path:
    """Where a file is: behind a link, so that the link stays one."""
    return path.resolve() if path.is_symlink() and not _is_stream(path) else path


def _is_stream(path: Path) -> bool:
    """Whether a path is a device, a pipe or the like, which is written to and never replaced."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or str(path.absolute()).startswith(_OPEN_ALREADY)


_OPEN_ALREADY = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")
"""Where a regular file is one that a process has open: it goes on with the old one if another takes its place."""


def _beside(path: Path) -> Path:
    name = f".{path.stem}.{_HOST}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    return Path(tempfile.gettempdir(), name) if _is_stream(path) else path.with_name(name)


_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_LEFT = re.compile(rf"\..+\.{_HOST}-(\d+)-[0-9a-f]{{8}}(\.\w+)?")


def sweep(folder: str | Path) -> list[Path]:
    """Remove the temporary files that processes of this machine left in a folder when they were killed.

    Returns:
        What was removed.
    """
    left = [path for path in Path(folder).glob(".*") if (match := _LEFT.fullmatch(path.name)) and _gone(int(match[1]))]
    for path in left:
        path.unlink(missing_ok=True)
    return left


def _gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is there, and another user's
        return False
    return False


def _take_place(partial: Path, path: Path) -> None:
    if not _is_stream(path):
        os.replace(partial, path)
        return
    try:
        with open(partial, "rb") as source, open(path, "ab") as stream:
            shutil.copyfileobj(source, stream)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file a second name, atomically; a copy where the disk has no links.

    Raises:
        UserError: the name cannot be given.
    """
    source, target = Path(source), Path(target)
    partial = _beside(target)
    try:
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)
        os.replace(partial, target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: str | Path, obj: object, *, indent: int | None = 1) -> None:
    """Write `obj` as JSON, atomically; an indent of None is for long lists.

    NumPy numbers become plain ones. NaN and infinities, which JSON does not have, become null: a table with a
    diverged model in it is still a table, and every reader of JSON reads it.

    Raises:
        TypeError: a value has no JSON form.
        UserError: the file cannot be written.
    """
    text = json.dumps(_plain_json(obj), indent=indent, ensure_ascii=False, allow_nan=False)
    with atomic(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def _plain_json(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_json(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, int, float, type(None))):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form")


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: the file is missing or is not JSON.
    """
    try:
        return json.loads(_read_bytes(path))
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a JSON file: {error}") from error


def _read_bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def write_state(path: str | Path, mapping: Mapping[str, object]) -> None:
    """Write a state dict atomically, so that `read_state` and any `paddle.load` read it.

    Tensors, at any depth of dicts, lists and tuples, are written as NumPy arrays. A checksum follows, which readers of
    pickles pass over.

    Raises:
        TypeError: a value is not a tensor, an array, a plain number, text, bytes or None.
    """
    with atomic(path) as partial:
        with open(partial, "wb") as file:
            _Pickler(file, protocol=4).dump(_map_leaves(mapping, _plain_leaf))
        checksum = sha256(partial)
        with open(partial, "ab") as file:
            file.write(_CHECKSUM + checksum.encode())


def _plain_leaf(value: object) -> object:
    return _check_leaf(value.numpy() if hasattr(value, "numpy") else value)


def _check_sum(file: Any, path: str | Path, *, needed: bool) -> None:
    """Compare what comes before a position with the checksum that follows there."""
    end, found = file.tell(), file.read(len(_CHECKSUM) + 65)
    if not found and not needed:
        return
    file.seek(0)
    digest = hashlib.sha256()
    left = end
    while block := file.read(min(left, 1 << 20)):
        digest.update(block)
        left -= len(block)
    if found != _CHECKSUM + digest.hexdigest().encode():
        raise UserError(f"{path}: was altered since it was written, or cut: its checksum is another")


class _Pickler(pickle.Pickler):
    """Spells an array as the public `numpy.ndarray` constructor.

    NumPy 2 names a private module in its own spelling, which NumPy before 1.26 cannot import.
    """

    def reducer_override(self, obj: object) -> Any:
        if type(obj) is np.ndarray and obj.dtype.kind in "biufc":
            return np.ndarray, (obj.shape, obj.dtype.str, obj.tobytes())
        return NotImplemented


_CHECKSUM = b"sha256:"


def read_state(path: str | Path, *, ours: bool = False) -> dict[str, Any]:
    """The content of a Paddle state file: a dict of arrays and of plain containers and values.

    Paddle's table of parameter names is left out, and the (name, array) pairs that it writes for tensors inside
    containers become arrays.

    Args:
        ours: whether it must have the checksum that `write_state` writes; one that is there is compared in any case.

    Raises:
        UserError: the file is missing, altered, of another kind, or names anything but arrays and plain containers.
    """
    if Path(path).is_dir():
        raise UserError(f"{path}: is a folder, not a state file")
    try:
        file = open(path, "rb")  # noqa: SIM115  (so that an unreadable file and an unreadable pickle differ)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        if not os.fstat(file.fileno()).st_size:
            raise UserError(f"{path}: empty file; was its writing interrupted?")
        state = restricted_pickle.load(file, str(path))
        _check_sum(file, path, needed=ours)
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a state dict")
    if _SLICE_TABLE in state:
        raise UserError(f"{path}: holds a parameter cut into slices (pickle protocol 2); save it again with protocol 4")
    state.pop(_NAME_TABLE, None)
    if any(not isinstance(key, str) for key in state):
        raise UserError(f"{path}: its keys are not all names, so it is no state dict")
    try:
        return _map_leaves(state, _check_leaf, pair=_array_of_pair)
    except TypeError as error:
        raise UserError(f"{path}: {error}") from error


def _check_leaf(value: object) -> object:
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biufc":
            return value
        raise TypeError(f"holds an array of {value.dtype}")
    if isinstance(value, _SCALARS):
        return value
    raise TypeError(f"holds a {type(value).__name__}")


def _array_of_pair(value: tuple) -> object:
    """The array of a (tensor name, array) pair, or the tuple itself."""
    named = len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], np.ndarray)
    return value[1] if named else value


def _map_leaves(
    value: Any, leaf: Callable[[object], object], pair: Callable[[tuple], object] = lambda value: value
) -> Any:
    """A copy of nested dicts, lists and tuples with `leaf` applied to everything else."""
    if isinstance(value, tuple):
        value = pair(value)
    if isinstance(value, Mapping):
        return {key: _map_leaves(item, leaf, pair) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_map_leaves(item, leaf, pair) for item in value)
    return leaf(value)

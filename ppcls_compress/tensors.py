"""Weights as a safetensors file: arrays by name, and in its metadata what else belongs to them.

Nothing in such a file can run: a header of names, types, shapes and positions, then the numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_compress import io
from ppcls_compress.errors import UserError, one_line

SUFFIX = ".safetensors"
_RECORD = "ppcls_compress.record"
_SUM = "ppcls_compress.sha256"
_LARGEST_HEADER = 16 << 20
"""Bytes; a network of ten thousand tensors and its record take a tenth of it."""


def write(path: str | Path, mapping: Mapping[str, object], record: Mapping[str, Any]) -> None:
    """Write arrays or tensors, and a plain record, atomically; a checksum of both goes into the metadata.

    Raises:
        TypeError: a value is not an array of numbers.
        UserError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {name: _array(value) for name, value in mapping.items()}
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    metadata = {"format": "np", _RECORD: text, _SUM: _checksum(arrays, text)}
    with io.atomic(path) as partial:
        try:
            save_file(arrays, str(partial), metadata)
        except SafetensorError as error:  # as it says that a disk is full
            raise UserError(f"{path}: cannot be written: {one_line(error, 200)}") from error


def read(path: str | Path) -> tuple[dict[str, np.ndarray], Any | None]:
    """The arrays of a file, and the record of ours in it; None where it has none.

    Raises:
        UserError: the file is missing, altered, or of another kind; it has types that NumPy lacks.
    """
    from safetensors import SafetensorError, safe_open

    _check_header(path)
    try:
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    except (SafetensorError, OSError, ValueError, OverflowError, MemoryError) as error:
        raise UserError(f"{path}: not a safetensors file, or cut: {one_line(error, 200)}") from error
    except (TypeError, AttributeError, KeyError) as error:  # as NumPy says that it has no bfloat16
        raise UserError(f"{path}: holds numbers of a type that is not read here: {one_line(error, 100)}") from error
    text = metadata.get(_RECORD)
    if _SUM in metadata and metadata[_SUM] != _checksum(arrays, text or ""):
        raise UserError(f"{path}: was altered since it was written: its checksum is another")
    return arrays, None if text is None else _record(text, path)


def _check_header(path: str | Path) -> None:
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise UserError(f"{path}: is not a file")
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if found.st_size < 8 or size > found.st_size - 8:
        raise UserError(f"{path}: not a safetensors file, or cut: it has no whole header")
    if size > _LARGEST_HEADER:
        raise UserError(f"{path}: its header has {size:,} bytes; {_LARGEST_HEADER:,} are read at most")


def _array(value: object) -> np.ndarray:
    array = value.numpy() if hasattr(value, "numpy") else value
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise TypeError(f"holds a {type(value).__name__}, which safetensors has no form for")
    return np.ascontiguousarray(array).reshape(array.shape)


def _checksum(arrays: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(repr((name, array.dtype.str, tuple(array.shape))).encode())
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return digest.hexdigest()


def _record(text: str, path: str | Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: the record in its metadata is not JSON: {one_line(error, 100)}") from error

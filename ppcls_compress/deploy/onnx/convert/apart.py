"""Parameters of equal values keep their names: p2o writes such parameters once, under the name of one of them.

Which layer a weight is, the exporter knows by the parameter's name.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ppcls_compress.deploy.program import Program

_FRONT = 4 + 8 + 4
"""Bytes before the size of a tensor's description: its version, no levels of detail, the version of the tensor."""
_SIZE = struct.Struct("<i")
_MARK = 4
"""Bytes at the start of a tensor that may be changed for a while."""


@contextmanager
def told_apart(path: Path, program: Program) -> Iterator[dict[str, bytes]]:
    """Within, no two parameters in a file are the same; afterwards it is what it was before.

    Yields:
        The first bytes of those that were changed, by name; `put_back` writes them into what was converted.
    """
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        places = dict(_places(data, program))
        originals = _mark(data, places)
        data.flush()
        try:
            yield originals
        finally:
            for name, first in originals.items():
                data[places[name].start : places[name].start + len(first)] = first


def put_back(path: Path, originals: Mapping[str, bytes]) -> None:
    """Give the parameters in an ONNX file back their first bytes."""
    import onnx

    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        first = originals.get(tensor.name)
        if first is not None:
            tensor.raw_data = first + tensor.raw_data[len(first) :]
    onnx.save(model, str(path))


def _places(data: mmap.mmap, program: Program) -> Iterator[tuple[str, slice]]:
    """Where the values of each parameter lie."""
    position = 0
    for name, (_, _, size) in program.parameters().items():
        position += _FRONT
        (described,) = _SIZE.unpack_from(data, position)
        position += _SIZE.size + described
        yield name, slice(position, position + size)
        position += size


def _mark(data: mmap.mmap, places: Mapping[str, slice]) -> dict[str, bytes]:
    """Change the start of each parameter that is like an earlier one, until it is not."""
    seen: set[bytes] = set()
    originals = {}
    for name, place in places.items():
        mark = len(originals)
        width = min(_MARK, place.stop - place.start)
        while (digest := _digest(data[place])) in seen and mark < 256**width:
            originals.setdefault(name, data[place.start : place.start + width])
            data[place.start : place.start + width] = mark.to_bytes(width, "little")
            mark += 1
        seen.add(digest)
    return originals


def _digest(values: bytes) -> bytes:
    return hashlib.blake2b(values, digest_size=16).digest()

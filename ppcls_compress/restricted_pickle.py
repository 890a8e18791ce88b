"""Pickles read without running what is in them: arrays, plain containers, plain values, nothing else.

An ordinary unpickler calls whatever a pickle names, sets whatever state it holds, and takes whatever memory it asks
for. Here a pickle is walked through before it is read: only instructions that such files need, no number, length or
table larger than the file itself allows. Reading then makes stand-ins of types and arrays, whose state this module
sets, and after that arrays of a fresh type: no state of a type, of an array or of a function comes from a file.

This module is a leaf: it imports neither Paddle nor the rest of the package.
"""

from __future__ import annotations

import codecs
import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ppcls_compress.errors import UserError

_TABLE = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_INSTRUCTIONS = frozenset(
    f"""
    PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG1 FLOAT BINFLOAT STRING
    BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
    BYTEARRAY8 LIST EMPTY_LIST APPEND APPENDS TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 DICT EMPTY_DICT SETITEM SETITEMS
    GET BINGET LONG_BINGET {" ".join(sorted(_TABLE))} MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD
    """.split()
)
_MORE_FOR_CLASSES = frozenset({"NEWOBJ"})
_MOST_INSTRUCTIONS = 4_000_000
_DEEPEST = 32
"""Containers within containers."""
_DTYPE = re.compile(r"[<>=|]?(b1|\?|[iu][1248]|f[248]|c8|c16|bool|u?int(8|16|32|64)|float(16|32|64)|complex(64|128))")
_SCALARS = (str, bytes, int, float, complex, bool, type(None), np.generic)


class _RefusedError(Exception):
    """A pickle holds something that such a file has no use for."""


def load(
    file: Any, source: str, *, encoding: str = "ASCII", also: Mapping[tuple[str, str], type] | None = None
) -> object:
    """The object in a pickle, at most as large as the file.

    Args:
        file: a binary file at its start, which can be sought.
        source: what to call it in errors.
        encoding: of the strings of Python 2, as for `pickle.Unpickler`.
        also: (module, class) that the file may name besides -> the attribute holder to make in its place.

    The file is left at the end of the pickle, after which it may go on.

    Raises:
        UserError: the pickle is damaged, names anything else, or asks for more than it can need.
    """
    size = file.seek(0, 2)
    file.seek(0)
    try:
        _walk_through(_Bounded(file, size), size, _INSTRUCTIONS | (_MORE_FOR_CLASSES if also else frozenset()))
        end = file.tell()
        file.seek(0)
        reader = _Unpickler(_Bounded(file, size), _Budget(size), also or {}, encoding)
        found = _finished(reader.load(), {}, 0)
        file.seek(end)
        return found
    except _RefusedError as error:
        raise UserError(f"{source}: refused: {error}") from error
    except Exception as error:  # damaged bytes can make an unpickler raise nearly anything
        raise UserError(f"{source}: truncated or damaged: {_short(error)}") from error


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else f"{text[:117]}..."


class _Bounded:
    """A file from which no more is asked for than is left of it, whatever length a pickle claims."""

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._size = file, size

    def read(self, count: int = -1) -> bytes:
        left = self._size - self._file.tell()
        return self._file.read(left if count < 0 else min(count, left))

    def readline(self) -> bytes:
        return self._file.readline()

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def tell(self) -> int:
        return self._file.tell()


def _walk_through(file: _Bounded, size: int, allowed: frozenset[str]) -> None:
    """Look at every instruction and at what it asks for, before any is carried out."""
    for count, (instruction, argument, _) in enumerate(pickletools.genops(file)):
        if instruction.name not in allowed:
            raise _RefusedError(f"it holds the instruction {instruction.name}, which such a file has no use for")
        if instruction.name in _TABLE and argument > size:
            raise _RefusedError(f"it asks for a table of {argument} entries, and has {size} bytes")
        if isinstance(argument, int) and argument.bit_length() > 64 and instruction.name in ("LONG1", "INT"):
            raise _RefusedError("it holds an integer of more than 64 bits")
        if count > _MOST_INSTRUCTIONS:
            raise _RefusedError(f"it holds more than {_MOST_INSTRUCTIONS:,} instructions")


class _Budget:
    """Bytes that arrays may take together: those of the file, since each byte of an array is in it."""

    def __init__(self, size: int) -> None:
        self.left = 2 * size + 4096  # old protocols write a byte above 127 in two

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise _RefusedError("it makes more of its bytes than it holds")


class _Name:
    """What a name in a pickle stands for: callable, and without any state that a file could set."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *arguments: object) -> object:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise _RefusedError("it sets the state of a function or class")


class _DType:
    """An array's type by its name; of its state the byte order alone is taken."""

    __slots__ = ("_order", "_text")

    def __init__(self, text: object, *_: object) -> None:
        text = text.decode("ascii") if isinstance(text, bytes) else text
        if isinstance(text, _DType):
            text = text._text
        if not isinstance(text, str) or not _DTYPE.fullmatch(text):
            raise _RefusedError(f"it names the array type {str(text)[:40]!r}; booleans and numbers are allowed")
        self._text, self._order = text, "="

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        order = order.decode("ascii") if isinstance(order, bytes) else order
        if order not in ("<", ">", "=", "|") or any(part is not None for part in state[2:5]):
            raise _RefusedError("it gives an array type fields or a byte order that there is not")
        self._order = order

    def fresh(self) -> np.dtype:
        """The type, made from its name."""
        dtype = np.dtype(self._text)
        return dtype.newbyteorder(self._order) if self._order in ("<", ">") else dtype


class _Array:
    """An array whose shape, type and bytes follow in its state, as NumPy writes it."""

    __slots__ = ("_budget", "value")

    def __init__(self, budget: _Budget) -> None:
        self._budget, self.value = budget, None

    def __setstate__(self, state: object) -> None:
        if self.value is not None:
            raise _RefusedError("it sets the state of an array twice")
        _, shape, dtype, fortran, data = state
        if isinstance(data, str):
            data = data.encode("latin1")
        self.value = _filled(self._budget, data, dtype, shape, "F" if fortran else "C")


def _filled(budget: _Budget, data: object, dtype: object, shape: object, order: str) -> np.ndarray:
    """A writable array of native byte order over a copy of these bytes, no more and no less."""
    if not isinstance(dtype, _DType) or not isinstance(data, (bytes, bytearray)) or order not in ("C", "F"):
        raise _RefusedError("it describes an array by something else than a type, a shape and bytes")
    shape = (shape,) if isinstance(shape, int) else shape
    if not isinstance(shape, tuple) or len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
        raise _RefusedError("it gives an array a shape that there is not")
    budget.spend(len(data))
    found = np.frombuffer(data, dtype.fresh()).reshape(shape, order=order)
    return found.astype(found.dtype.newbyteorder("="), order=order, copy=True)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, budget: _Budget, also: Mapping[tuple[str, str], type], encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self._named = _names(budget)
        self._classes = also

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        if (module, name) in self._classes:
            return self._classes[module, name]
        if (module, name) not in self._named:
            raise _RefusedError(f"it names {f'{module}.{name}'[:80]}, which such a file has no use for")
        return self._named[module, name]


def _names(budget: _Budget) -> dict[tuple[str, str], _Name]:
    """What a pickle of arrays may name, as NumPy 1 and 2 and Python 2 and 3 spell it."""

    def encode(text: object, encoding: object = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "utf-8"):
            raise _RefusedError(f"it encodes by {str(encoding)[:40]!r}")
        budget.spend(len(text))
        return codecs.encode(text, encoding)

    def empty_bytes(*arguments: object) -> bytes:
        if arguments:
            raise _RefusedError("it makes bytes of something else")
        return b""

    def array(shape: object, dtype: object, data: object = b"", offset: object = 0, *_: object) -> np.ndarray:
        if offset != 0:
            raise _RefusedError("it cuts an array out of others' bytes")
        return _filled(budget, data, dtype if isinstance(dtype, _DType) else _DType(dtype), shape, "C")

    def scalar(dtype: object, data: object) -> np.generic:
        return _filled(budget, data.encode("latin1") if isinstance(data, str) else data, dtype, (1,), "C")[0]

    def from_buffer(data: object, dtype: object, shape: object, order: str) -> np.ndarray:
        return _filled(budget, data, dtype, shape, order)

    def sequence(values: object = ()) -> tuple:
        if not isinstance(values, (tuple, list)):
            raise _RefusedError("it makes a tuple of something else")
        return tuple(values)

    def ordered() -> OrderedDict:
        return OrderedDict()

    calls = {
        ("collections", "OrderedDict"): ordered,
        ("_codecs", "encode"): encode,
        ("numpy", "dtype"): _DType,
        ("numpy", "ndarray"): array,
        **{(builtins, "tuple"): sequence for builtins in ("builtins", "__builtin__")},
        **{(builtins, "bytes"): empty_bytes for builtins in ("builtins", "__builtin__")},
    }
    for core in ("numpy.core", "numpy._core"):
        calls[f"{core}.multiarray", "_reconstruct"] = lambda *_: _Array(budget)
        calls[f"{core}.multiarray", "scalar"] = scalar
        calls[f"{core}.numeric", "_frombuffer"] = from_buffer
    return {name: _Name(call) for name, call in calls.items()}


def _finished(value: Any, done: dict[int, Any], depth: int) -> Any:
    """The object with arrays in the place of their stand-ins; a container that occurs often is made once.

    Raises:
        _RefusedError: containers lie too deep, or hold themselves; a value or a key is of another kind.
    """
    if isinstance(value, _Array):
        if value.value is None:
            raise _RefusedError("it holds an array without content")
        return value.value
    if isinstance(value, (np.ndarray, *_SCALARS)):
        return value
    if id(value) in done:
        return done[id(value)]
    if depth >= _DEEPEST:
        raise _RefusedError(f"it holds containers more than {_DEEPEST} deep")
    if isinstance(value, dict):
        if any(not isinstance(key, (str, bytes, int, float)) for key in value):
            raise _RefusedError("a key of a dict is neither text nor a number")
        made = {key: _finished(item, done, depth + 1) for key, item in value.items()}
        made = OrderedDict(made) if isinstance(value, OrderedDict) else made
    elif isinstance(value, (list, tuple)):
        made = type(value)(_finished(item, done, depth + 1) for item in value)
    elif hasattr(value, "__dict__") and not isinstance(value, type):  # an attribute holder of the caller's
        made = value
        made.__dict__.update(_finished(dict(vars(value)), done, depth + 1))
    else:
        raise _RefusedError(f"it holds a {type(value).__name__.lstrip('_')}")
    done[id(value)] = made
    return made

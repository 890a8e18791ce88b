"""Mutations of bytes, texts and plain values, drawn from a generator."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

NASTY_TEXT = (
    "null",
    "~",
    "True",
    "-1",
    "0",
    "1e309",
    "-1e309",
    ".nan",
    ".inf",
    "9" * 400,
    "0x" + "f" * 80,
    "1e-400",
    "''",
    "'\\0'",
    '"\\0"',
    "[]",
    "{}",
    "[[[[]]]]",
    "&a [*a]",
    "*a",
    "<<: *a",
    "!!python/object/apply:os.system ['true']",
    "!!binary x",
    "!!timestamp 2024-13-45",
    "2024-02-30",
    "1:2:3",
    "0o9",
    "'" + "a" * 5000 + "'",
    "[" * 60,
    "{a: " * 40,
    "? - ",
    "..",
    "../../etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/mem",
    "$HOME",
    "${X",
    "~root",
    "a\x00b",
    "\ufeff",
    "\u202e",
    "é" * 50,
    "1.0/0.0",
    "1/3",
    "__import__('os')",
    "(1+" * 40,
    "-0",
    "1_000",
    "99999999999999999999",
    "2147483648",
    "-2147483649",
    "[0, 1, 2]",
    "{name: Momentum}",
    "[Momentum]",
    "name: x",
    "%",
    "@",
    "`",
    "\t",
    "|",
    ">",
    "- -",
    "!!set {a}",
    "!!omap []",
    "1",
    "2",
    "3",
    "5",
    "0.5",
    "0.999",
    "1.5",
    "1e38",
    "1e-38",
    "1e300",
    "1e-300",
    "1000000",
    "2147483647",
    "[1, 2]",
    "[3, 3]",
    "[1]",
    "false",
    "true",
)
NASTY_VALUES: Sequence[Any] = (
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    3,
    7,
    255,
    256,
    65536,
    2**31 - 1,
    2**31,
    2**53,
    2**63,
    2**64,
    -(2**63),
    10**400,
    0.0,
    -0.0,
    1e-320,
    1e308,
    float("inf"),
    float("nan"),
    "",
    "0",
    "x",
    "None",
    "nan",
    "1.0/255.0",
    "a" * 3000,
    "\0",
    "../x",
    "/dev/zero",
    [],
    {},
    [[]],
    [None],
    [0],
    [1, 2],
    [1, 2, 3],
    [1, 2, 3, 4],
    ["x"],
    {"x": 1},
    {"name": "x"},
    {"name": None},
    [{}],
    [{"x": None}],
    {"": ""},
)
NASTY_BYTES = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"\xff" * 8,
    b"\x00" * 8,
    b"\x28" * 64,
)


def of_bytes(data: bytes, draw: random.Random) -> bytes:
    """A few changes: bits, numbers, pieces cut, doubled, moved, or random."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        _change(found, draw)
    return bytes(found)


def _change(found: bytearray, draw: random.Random) -> None:
    size = len(found)
    at = draw.randrange(size + 1)
    kind = draw.randrange(9) if size else 7
    length = min(draw.choice((1, 2, 4, 8, 64, 1024)), size)
    end = min(at + length, size)
    if kind <= 1 and at < size:
        found[at] ^= 1 << draw.randrange(8)
    elif kind == 2:
        nasty = draw.choice(NASTY_BYTES)
        found[at : at + len(nasty)] = nasty
    elif kind == 3:
        del found[at:end]
    elif kind == 4:
        found[at:at] = found[at:end]
    elif kind == 5:
        del found[at:]
    elif kind == 6:
        source = draw.randrange(size)
        found[at:end] = found[source : source + length]
    elif kind == 7:
        found[at:at] = draw.randbytes(length or 4)
    else:
        found[at:end] = draw.randbytes(end - at)


def of_text(text: str, draw: random.Random) -> str:
    """A few changes of lines: a value replaced, a line cut, doubled, moved, indented; or of single letters."""
    lines = text.split("\n")
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        at = draw.randrange(len(lines))
        line, kind = lines[at], draw.randrange(8)
        if kind <= 2:
            lines[at] = f"{line.partition(':')[0]}: {draw.choice(NASTY_TEXT)}"
        elif kind == 3:
            del lines[at]
        elif kind == 4:
            lines.insert(draw.randrange(len(lines) + 1), line)
        elif kind == 5:
            lines[at] = " " * draw.randrange(1, 9) + line
        elif kind == 6:
            lines[at] = line.lstrip(" ") if draw.random() < 0.5 else line + draw.choice(NASTY_TEXT)
        elif line:
            place = draw.randrange(len(line))
            lines[at] = (
                line[:place] + chr(draw.choice((0, 9, 39, 58, 91, 123, 0x7F, 0xFFFE, 0x1F600))) + line[place + 1 :]
            )
        lines = lines or [""]
    return "\n".join(lines)


def of_value(value: Any, draw: random.Random) -> Any:
    """A copy of nested lists and dictionaries in which one thing is another, gone, or under another key."""
    if isinstance(value, dict) and value and draw.random() < 0.92:
        key = draw.choice(list(value))
        kind = draw.random()
        if kind < 0.06:
            return {k: v for k, v in value.items() if k != key}
        if kind < 0.1:
            return {**value, draw.choice(("x", "", "name", "version", "-1")): draw.choice(NASTY_VALUES)}
        return {**value, key: of_value(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.9:
        at = draw.randrange(len(value))
        kind = draw.random()
        if kind < 0.1:
            return value[:at] + value[at + 1 :]
        if kind < 0.2:
            return [*value, draw.choice(NASTY_VALUES)]
        return [*value[:at], of_value(value[at], draw), *value[at + 1 :]]
    if isinstance(value, int) and not isinstance(value, bool) and draw.random() < 0.4:
        return value + draw.choice((-1, 1, 7, 2**20))
    return draw.choice(NASTY_VALUES)

"""Text files in UTF-8, with or without a byte order mark; what else a file is written in is told by name.

This module is a leaf: every other package may import it.
"""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path

from ppcls_compress.errors import UserError

_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_HIGH = re.compile(rb"[\x80-\xff]+")
_DOUBLE = (("gbk", "GBK"), ("big5", "Big5"), ("shift_jis", "SHIFT-JIS"), ("euc_jp", "EUC-JP"), ("euc_kr", "EUC-KR"))


def read_text(path: str | Path, *, limit: int | None = None) -> str:
    """The text of a UTF-8 file, line ends as `\\n`, without its byte order mark.

    Args:
        limit: the most bytes that such a file may have.

    Raises:
        UserError: the file cannot be read, is larger than `limit`, or is not UTF-8; says in what it is written instead,
            as far as the bytes tell, and how to convert it.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(-1 if limit is None else limit + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    if limit is not None and len(data) > limit:
        raise UserError(f"{path}: larger than {limit:,} bytes, which no such file is")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}: not a text file in UTF-8, first in line {line}{_advice(data, path)}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _advice(data: bytes, path: str | Path) -> str:
    found = encoding_of(data)
    if found is None:
        return ""
    return f"; it looks like {found}: iconv -f {found} -t UTF-8 {os.fspath(path)} > NEW_FILE"


def encoding_of(data: bytes) -> str | None:
    """The name, as `iconv` takes it, of the encoding that bytes which are not UTF-8 are likely written in, or None.

    A guess: characters of two bytes come in runs of an even number of bytes beyond ASCII as a rule, accented letters of
    one byte stand alone.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    if b"\0" in data:
        return None
    runs = _HIGH.findall(data)
    if 2 * sum(len(run) % 2 == 0 for run in runs) >= len(runs):
        for codec, name in _DOUBLE:
            try:
                data.decode(codec)
            except UnicodeDecodeError:
                continue
            return name
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return None
    return "WINDOWS-1252"

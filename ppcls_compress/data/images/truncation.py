"""Images whose end is missing: decoders may fill the missing rows with grey and not complain."""

from __future__ import annotations

import re

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG", b"IEND\xaeB`\x82"
# A marker inside entropy-coded JPEG data: neither a stuffed zero byte nor one of the eight restart markers.
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")


def is_truncated(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end."""
    if data.startswith(_JPEG_START):
        return not _jpeg_is_complete(data)
    return data.startswith(_PNG_START) and _PNG_END not in data[-4096:] and _PNG_END not in data


def _jpeg_is_complete(data: bytes) -> bool:
    """Whether the end marker is there: as the last bytes, or, if something follows it, after the coded data.

    A thumbnail inside a header segment has an end marker too, so segments are stepped over by their length.
    """
    if data.endswith(_JPEG_END):
        return True
    position = len(_JPEG_START)
    while marker := _JPEG_MARKER.search(data, position):
        if marker.group()[-1:] == _JPEG_END[-1:]:
            return True
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return False

"""Parts of the page: sections of text, tables and drawings, what is folded away, and the element that each becomes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from ppcls_compress.report.charts.drawing import Drawing


@dataclass(frozen=True)
class Folded:
    """What is shown when its title is clicked."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Beside:
    """Drawings that stand side by side where the page is wide enough."""

    drawings: Sequence[Drawing]


Part = str | Drawing | Beside | Folded
"""HTML, or what becomes such."""


@dataclass(frozen=True)
class Section:
    """A heading and what is below it."""

    title: str
    parts: Sequence[Part]

    def html(self) -> str:
        """As an element."""
        content = "\n".join(map(_html, self.parts))
        return f"<section>\n<h2>{escape(self.title)}</h2>\n{content}\n</section>"

    def drawings(self) -> Iterator[Drawing]:
        """All that it shows, in their order."""
        yield from _drawings(self.parts)


def _html(part: Part) -> str:
    if isinstance(part, Drawing):
        return wide(part.svg())
    if isinstance(part, Beside):
        return '<div class="beside">' + "".join(wide(drawing.svg()) for drawing in part.drawings) + "</div>"
    if isinstance(part, Folded):
        inside = "\n".join(map(_html, part.parts))
        return f"<details><summary>{escape(part.title)}</summary>{inside}</details>"
    return part


def _drawings(parts: Sequence[Part]) -> Iterator[Drawing]:
    for part in parts:
        if isinstance(part, Drawing):
            yield part
        elif isinstance(part, Beside):
            yield from part.drawings
        elif isinstance(part, Folded):
            yield from _drawings(part.parts)


def cards(found: Sequence[tuple[str, str]]) -> str:
    """Large numbers, each with what it is."""
    items = "".join(f"<li><b>{escape(number)}</b>{escape(what)}</li>" for number, what in found)
    return f'<ul class="cards">{items}</ul>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML: numbers end, words begin in line, and sentences are broken into lines."""
    kinds = [_kind([row[i] for row in rows if i < len(row)]) for i in range(len(head))]
    titles = "".join(f'<th scope="col"{kind}>{escape(title)}</th>' for title, kind in zip(head, kinds, strict=True))
    lines = "\n".join(f"<tr>{''.join(map(_cell, row, kinds))}</tr>" for row in rows)
    return wide(f"<table><thead><tr>{titles}</tr></thead><tbody>\n{lines}\n</tbody></table>")


_SENTENCE = 40
_TAG = re.compile(r"<[^>]*>")
_NUMBER = re.compile(r"[-+]?[\d.,]+(e[-+]?\d+)?( ?x ?\d+)*[x%]?")


def _kind(cells: Sequence[str]) -> str:
    plain = [_TAG.sub("", cell) for cell in cells]
    if any(len(cell) > _SENTENCE and " " in cell for cell in cells):
        return ' class="text"'
    return "" if all(_NUMBER.fullmatch(cell) for cell in plain if cell) else ' class="word"'


def _cell(content: str, kind: str) -> str:
    return f"<td{kind}>{content}</td>"


def wide(content: str) -> str:
    """What can be moved sideways where the page is too narrow for it, by a keyboard too."""
    return f'<div class="wide" tabindex="0">{content}</div>'


def code(content: str) -> str:
    """Text as it is."""
    return f'<pre tabindex="0">{escape(content)}</pre>'


def note(content: str) -> str:
    """A remark; HTML."""
    return f'<p class="soft">{content}</p>'


def count(value: int | None) -> str:
    """A number with commas; nothing where it is not known."""
    return "" if value is None else f"{value:,}"


def shape(sizes: Sequence[int]) -> str:
    """`64 x 3 x 7 x 7`."""
    return " x ".join(map(str, sizes))

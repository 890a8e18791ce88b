"""Small drawings as SVG text, which take their colours from the page: bars, lines, points, and shaded tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

_TEXT = 7.0  # a letter's width, in the drawing's units
_LINE = 18
Point = tuple[float, float]


def drawing(width: float, height: float, parts: Sequence[str], title: str) -> str:
    """The parts as one picture, which shrinks with the page and says what it is to those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


def text(x: float, y: float, content: str, *, anchor: str = "start", kind: str = "") -> str:
    """A line of text; `kind` is a class of the page's style."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(content)}</text>'


def kept_bars(layers: Sequence[tuple[str, int, int]], title: str) -> str:
    """A bar for each layer, its channels before, filled as far as those that are kept; (name, kept, before) each."""
    label = min(320.0, _TEXT * max(len(name) for name, _, _ in layers) + 8)
    full, most = 320.0, max(before for _, _, before in layers)
    parts = []
    for index, (name, kept, before) in enumerate(layers):
        y = index * _LINE
        parts.append(text(label - 8, y + 13, _short(name, 44), anchor="end"))
        parts.append(f'<rect x="{label}" y="{y + 3}" width="{full * before / most:.1f}" height="12" class="faint"/>')
        parts.append(f'<rect x="{label}" y="{y + 3}" width="{full * kept / most:.1f}" height="12" class="strong"/>')
        parts.append(text(label + full * before / most + 6, y + 13, f"{kept} of {before}", kind="small"))
    return drawing(label + full + 110, len(layers) * _LINE + 4, parts, title)


def shaded(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    title: str,
    *,
    unit: str = "%",
) -> str:
    """A table of shaded cells, the darker the larger; numbers stand in cells that are wide enough."""
    label = min(320.0, _TEXT * max(len(name) for name in rows) + 8)
    wide = 46.0 if len(columns) <= 14 else max(8.0, 640 / len(columns))
    most = max((value for row in values for value in row if value is not None), default=0.0) or 1.0
    head = 22.0
    parts = [
        text(label + (index + 0.5) * wide, 14, _short(name, int(wide / 6.5)), anchor="middle", kind="small")
        for index, name in enumerate(columns)
        if wide >= 20
    ]
    for line, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = head + line * _LINE
        parts.append(text(label - 8, y + 13, _short(name, 44), anchor="end"))
        for index, value in enumerate(row):
            if value is None:
                continue
            share = max(0.0, value / most)
            x, told = label + index * wide, escape(f"{name}, {columns[index]}: {value:.4g} {unit}")
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{wide - 1:.1f}" height="{_LINE - 1}" class="shade" '
                f'fill-opacity="{0.06 + 0.9 * share:.3f}"><title>{told}</title></rect>'
            )
            if wide >= 40 and value > most / 1000:
                kind = "small light" if share > 0.55 else "small"
                parts.append(
                    text(
                        x + wide / 2,
                        y + 13,
                        f"{value:.3g}" if value >= 1 else f"{value:.2f}",
                        anchor="middle",
                        kind=kind,
                    )
                )
    return drawing(label + wide * len(columns) + 4, head + len(rows) * _LINE + 4, parts, title)


def points(found: Mapping[str, Point], across: str, up: str, title: str) -> str:
    """Named points, the horizontal axis logarithmic where its values span more than a factor of four."""
    width, height, left, top = 640.0, 300.0, 60.0, 16.0
    xs, ys = zip(*found.values(), strict=True)
    scale = math.log if min(xs) > 0 and max(xs) / min(xs) > 4 else float
    place_x = _axis([scale(x) for x in xs], left + 20, width - 150)
    place_y = _axis(list(ys), height - 50, top + 12)
    parts = [f'<path d="M{left} {top}V{height - 36}H{width - 10}" class="axis"/>']
    for x in sorted({min(xs), max(xs)}):
        parts.append(text(place_x(scale(x)), height - 20, f"{x:.3g}", anchor="middle", kind="small"))
    for y in sorted({min(ys), max(ys)}):
        parts.append(text(left - 6, place_y(y) + 4, f"{y:.4g}", anchor="end", kind="small"))
    note = " (log)" if scale is math.log else ""
    parts.append(text((left + width) / 2, height - 4, across + note, anchor="middle"))
    parts.append(text(4, 10, up))
    taken: list[Point] = []
    for name, (x, y) in found.items():
        at_x, at_y = place_x(scale(x)), place_y(y)
        label_y = at_y + 4
        while any(abs(label_y - other) < 13 and abs(at_x - far) < 150 for far, other in taken):
            label_y += 13
        taken.append((at_x, label_y))
        mark = f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="5" class="strong">'
        parts.append(f"{mark}<title>{escape(name)}</title></circle>")
        parts.append(text(at_x + 9, label_y, _short(name, 24), kind="small"))
    return drawing(width, height, parts, title)


def _axis(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return lambda value: start + (end - start) * ((value - low) / span if high > low else 0.5)


def _short(name: str, letters: int) -> str:
    return name if len(name) <= letters else f"{name[: max(1, letters - 1)]}…"

"""What the page draws: bars, curves, points, times with whiskers, shaded tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ppcls_compress.report.charts.axis import Axis, around
from ppcls_compress.report.charts.drawing import Box, Boxes, Dot, Drawing, Line, Point, Shape, Text
from ppcls_compress.report.charts.palette import series

_LETTER = 7.2
_ROW = 18
_NAME = 46
"""Letters of a name; the middle of a longer one is left out, if it can be told from the others then."""
_RICH = 3000
"""Up to so many cells have a number and tell more to a mouse; of more only the shade is drawn."""
_SHADES = 12


def shortened(name: str, letters: int = _NAME) -> str:
    """A name without its middle, if it is longer: what differs in names of layers is at the end."""
    if len(name) <= letters:
        return name
    start = max(1, (letters - 1) // 3)
    return f"{name[:start]}…{name[len(name) - (letters - 1 - start) :]}" if letters > 3 else name[:letters]


def readable(names: Sequence[str]) -> list[str]:
    """Names of layers without what all begin and end with, in whole parts, and not too long to be shown."""
    split = [name.split(".") for name in names]
    if len(set(names)) > 1:
        while min(map(len, split)) > 1 and len({parts[0] for parts in split}) == 1:
            split = [parts[1:] for parts in split]
        while min(map(len, split)) > 1 and len({parts[-1] for parts in split}) == 1:
            split = [parts[:-1] for parts in split]
    whole = [".".join(parts) for parts in split]
    short = [shortened(name) for name in whole]
    return short if len(set(short)) == len(set(whole)) else whole


def kept_bars(layers: Sequence[tuple[str, int, int]], title: str) -> Drawing:
    """A bar for each layer, its channels before, filled as far as those that are kept; (name, kept, before) each."""
    names, full = readable([name for name, _, _ in layers]), 320.0
    label = label_width(names)
    most = max(before for _, _, before in layers)
    shapes: list[Shape] = []
    for index, (name, kept, before) in enumerate(layers):
        y = index * _ROW
        shapes.append(Text(label - 8, y + 13, names[index], "end"))
        shapes.append(Box(label, y + 3, full * before / most, 12, "faint"))
        shapes.append(Box(label, y + 3, full * kept / most, 12, "strong", told=f"{name}: {kept / before:.0%}"))
        shapes.append(Text(label + full * before / most + 6, y + 13, f"{kept} of {before}", kind="small"))
    return Drawing(label + full + 110, len(layers) * _ROW + 4, title, shapes)


@dataclass(frozen=True)
class Scale:
    """How numbers become shades: the darkest is `most`, or the largest there is; `signed` tells losses from gains."""

    unit: str = "%"
    most: float | None = None
    signed: bool = False


def shaded(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    title: str,
    scale: Scale | None = None,
) -> Drawing:
    """A table of shaded cells below its title, the darker the larger; numbers stand in cells that are wide enough."""
    scale = scale or Scale()
    names = readable(rows)
    label = label_width(names)
    wide = 46.0 if len(columns) <= 14 else max(8.0, 640 / len(columns))
    most = scale.most or max((abs(v) for row in values for v in row if v is not None), default=0.0) or 1.0
    shapes, head = _column_names(columns, label, wide)
    shapes.append(Text(4, 14, title))
    shapes += [Text(label - 8, head + line * _ROW + 13, name, "end") for line, name in enumerate(names)]
    width = max(label + wide * len(columns) + 12, 8 + _LETTER * len(title))
    end, bottom = label + wide * len(columns), head + len(rows) * _ROW
    corners = [(label - 1, head - 1), (end, head - 1), (end, bottom), (label - 1, bottom), (label - 1, head - 1)]
    shapes.append(Line(corners, "axis", 1.0))  # what is empty is seen to be
    size = Drawing(width, bottom + 4, title, shapes)
    cells = [
        (label + index * wide, head + line * _ROW, value, f"{name}, {columns[index]}: {value:.4g} {scale.unit}")
        for line, (name, row) in enumerate(zip(rows, values, strict=True))
        for index, value in enumerate(row)
        if value is not None
    ]
    if len(cells) > _RICH:
        shapes += _plain_cells(cells, wide, most, scale)
        return size
    for x, y, value, told in cells:
        share = min(1.0, abs(value) / most)
        shapes.append(Box(x, y, wide - 1, _ROW - 1, _shade(value, scale), 0.06 + 0.9 * share, told.rstrip()))
        if wide >= 40 and abs(value) > most / 1000:
            number = f"{value:+.3g}" if scale.signed else f"{value:.3g}" if value >= 1 else f"{value:.2g}"
            kind = "light" if share > 0.75 else "mark"
            shapes.append(Text(x + wide / 2, y + 13, number, "middle", kind))
    return size


def _plain_cells(cells: Sequence[tuple], wide: float, most: float, scale: Scale) -> list[Shape]:
    found: dict[tuple[str, int], list] = {}
    for x, y, value, _ in cells:
        key = (_shade(value, scale), round(_SHADES * min(1.0, abs(value) / most)))
        found.setdefault(key, []).append((x, y, wide - 1, _ROW - 1))
    return [Boxes(boxes, kind, 0.06 + 0.9 * shade / _SHADES) for (kind, shade), boxes in found.items()]


def _shade(value: float, scale: Scale) -> str:
    return ("good" if value > 0 else "bad") if scale.signed else "strong"


def _column_names(columns: Sequence[str], left: float, wide: float) -> tuple[list[Shape], float]:
    """The names over the columns, upright where these are narrow and names long, and where the cells begin."""
    longest = max(map(len, columns))
    upright = longest * _LETTER > wide
    every = math.ceil(13 / wide)
    head = _TITLE + (12 + _LETTER * min(longest, 18) if upright else 22)
    shapes = []
    for index, name in list(enumerate(columns))[::every]:
        x = left + (index + 0.5) * wide
        anchor, x = ("start", x + 4) if upright else ("middle", x)
        shapes.append(Text(x, head - 8, shortened(name, 18), anchor, "small", turned=upright))
    return shapes, head


_TITLE = 20.0
"""The height of a title."""


@dataclass(frozen=True)
class Frame:
    """What a chart is called, and its axes."""

    title: str
    across: str
    up: str
    log_across: bool = False
    log_up: bool = False


def curves(found: Mapping[str, Sequence[Point]], frame: Frame) -> Drawing:
    """A line for each name, with a legend below where there are several."""
    width, left, top, bottom = 364.0, 58.0, 34.0, 196.0
    points = [point for line in found.values() for point in line]
    across = around([x for x, _ in points], left, width - 14, margin=0.02)
    up = around([y for _, y in points], bottom, top, log=frame.log_up)
    shapes = _framed(frame, across, up, whole=True)
    for index, (name, line) in enumerate(found.items()):
        kind = series(index if len(found) > 1 else 1)
        placed = [(across(x), up(y)) for x, y in line]
        if len(placed) > 1:
            shapes.append(Line(placed, kind))
        if len(placed) <= 30:
            told = [f"{name}, {frame.across} {x:g}: {y:.4g}" for x, y in line]
            shapes += [Dot(x, y, kind, text, 3.0) for (x, y), text in zip(placed, told, strict=True)]
    legend = _legend([(name, series(i)) for i, name in enumerate(found)], left, bottom + 46) if len(found) > 1 else []
    return Drawing(width, bottom + 44 + 16 * (len(found) if legend else 0), frame.title, [*shapes, *legend])


@dataclass(frozen=True)
class Mark:
    """A point of a chart, called so to a mouse; its label stands above it."""

    name: str
    x: float
    y: float
    kind: str = "s1"
    label: str = ""


def points(marks: Sequence[Mark], frame: Frame, limits: tuple[float | None, float | None] = (None, None)) -> Drawing:
    """Points; `limits` are lines at an x and a y that may not be passed."""
    width, height, left, top = 760.0, 340.0, 64.0, 36.0
    right, bottom = width - 100, height - 42
    limit_x, limit_y = limits
    across = around([*(m.x for m in marks), *([] if limit_x is None else [limit_x])], left, right, log=frame.log_across)
    up = around([*(m.y for m in marks), *([] if limit_y is None else [limit_y])], bottom, top, margin=0.1)
    shapes = _framed(frame, across, up)
    if limit_x is not None:
        shapes.append(Line([(across(limit_x), top), (across(limit_x), bottom)], "bad", 1.0))
    if limit_y is not None:
        shapes.append(Line([(left, up(limit_y)), (right, up(limit_y))], "bad", 1.0))
    shapes += [Dot(across(m.x), up(m.y), m.kind, f"{m.name}: {m.x:.4g}, {m.y:.4g}") for m in marks]
    taken: list[Point] = []
    for mark in sorted((mark for mark in marks if mark.label), key=lambda mark: -up(mark.y)):
        label = shortened(mark.label, 40)
        x, y, long = across(mark.x) - 4, up(mark.y) - 9, _LETTER * len(label)
        while any(abs(y - other) < 13 and abs(x - far) < long for far, other in taken):
            y -= 13
        taken.append((x, y))
        shapes.append(Text(x, y, label, kind="mark"))
    return Drawing(width, height, frame.title, shapes)


@dataclass(frozen=True)
class Timed:
    """What a model takes: the median, and what nine of ten runs stay below, in milliseconds."""

    name: str
    median: float
    p90: float
    kind: str


def times(found: Sequence[Timed], title: str, legend: Sequence[tuple[str, str]] = ()) -> Drawing:
    """A line for each model below the title: a dot at its median, a whisker up to its p90.

    Args:
        legend: what colours mean, (meaning, colour) each, where the names do not tell.
    """
    names, full = [shortened(item.name, 64) for item in found], 360.0
    label, top = label_width(names), _TITLE
    bottom = top + 30.0 + len(found) * 22
    ends = [end for item in found for end in (item.median, max(item.median, item.p90))]
    across = around(ends, label, label + full, log=True)
    if not across.log:
        across = Axis(0.0, across.high, label, label + full)
    shapes: list[Shape] = [Text(4, 14, title)]
    for tick in across.ticks():
        shapes.append(Line([(across(tick), top + 24), (across(tick), bottom)], "axis", 1.0))
        shapes.append(Text(across(tick), top + 16, f"{tick:g}", "middle", "small"))
    for index, item in enumerate(found):
        y = top + 38 + index * 22
        x, end = across(item.median), across(max(item.median, item.p90))
        shapes.append(Text(label - 10, y + 4, names[index], "end"))
        shapes += _whisker(x, end, y)
        shapes.append(Dot(x, y, item.kind, f"{item.name}: median {item.median:.4g} ms, p90 {item.p90:.4g} ms"))
        shapes.append(Text(label + full + 12, y + 4, f"{item.median:.2f}", kind="mark"))
    told = "milliseconds, logarithmic" if across.log else "milliseconds"
    shapes.append(Text(label + full + 12, top + 16, told, kind="small"))
    shapes.append(Dot(label + 5, bottom + 20, "s0", radius=4.0))
    shapes.append(Text(label + 14, bottom + 24, "median", kind="small"))
    shapes += _whisker(label + 70, label + 90, bottom + 20)
    shapes.append(Text(label + 98, bottom + 24, "up to p90, below which nine of ten stay", kind="small"))
    for index, (meaning, kind) in enumerate(legend):
        shapes.append(Dot(label + 5 + 110 * index, bottom + 38, kind, radius=4.0))
        shapes.append(Text(label + 14 + 110 * index, bottom + 42, meaning, kind="small"))
    return Drawing(label + full + 180, bottom + (52 if legend else 34), title, shapes)


def _whisker(start: float, end: float, y: float) -> list[Shape]:
    return [Line([(start, y), (end, y)], "whisker", 1.5), Line([(end, y - 4), (end, y + 4)], "whisker", 1.5)]


def _framed(frame: Frame, across: Axis, up: Axis, *, whole: bool = False) -> list[Shape]:
    """Lines and numbers of both axes; `whole` numbers across only."""
    left, right, bottom, top = across.start, across.end, up.start, up.end
    shapes: list[Shape] = []
    for tick in up.ticks():
        shapes.append(Line([(left, up(tick)), (right, up(tick))], "axis", 1.0))
        shapes.append(Text(left - 6, up(tick) + 4, f"{tick:.4g}", "end", "small"))
    for tick in across.ticks():
        if not whole or tick == round(tick):
            shapes.append(Text(across(tick), bottom + 16, f"{tick:.4g}", "middle", "small"))
    shapes.append(Line([(left, top), (left, bottom), (right, bottom)], "axis", 1.0))
    note = " (logarithmic)" if across.log else ""
    shapes.append(Text((left + right) / 2, bottom + 32, frame.across + note, "middle", "small"))
    shapes.append(Text(4, 16, frame.up + (" (logarithmic)" if up.log else "")))
    return shapes


def _legend(names: Sequence[tuple[str, str]], x: float, y: float) -> list[Shape]:
    shapes: list[Shape] = []
    for index, (name, kind) in enumerate(names):
        shapes.append(Line([(x, y + 16 * index), (x + 18, y + 16 * index)], kind))
        shapes.append(Text(x + 24, y + 16 * index + 4, shortened(name, 44), kind="mark"))
    return shapes


def label_width(names: Sequence[str]) -> float:
    """Units that the longest of some names takes."""
    return _LETTER * max(map(len, names)) + 12

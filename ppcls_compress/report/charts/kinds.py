"""What the page draws: bars, curves, points, times with whiskers, shaded tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
_SHEET = 48
"""Rows of a drawing that a sheet of paper has place for."""
_CHART = 484.0
"""Units across of a chart: as many as a phone shows without being moved sideways."""


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


def sheets(title: str, count: int) -> list[tuple[str, slice]]:
    """A title and the rows of each drawing of so many rows, as many of them as a sheet of paper has place for."""
    starts = range(0, count, _SHEET)
    titles = [title] if count <= _SHEET else [f"{title}, {i} of {len(starts)}" for i in range(1, len(starts) + 1)]
    return [(told, slice(start, start + _SHEET)) for told, start in zip(titles, starts, strict=True)]


def kept_bars(layers: Sequence[tuple[str, int, int]], title: str) -> list[Drawing]:
    """A bar for each layer, its channels before, filled as far as those that are kept; (name, kept, before) each."""
    names, most = readable([name for name, _, _ in layers]), max(before for _, _, before in layers)
    rows = [(short, *layer) for short, layer in zip(names, layers, strict=True)]
    return [_bars(rows[part], most, told) for told, part in sheets(title, len(rows))]


def _bars(rows: Sequence[tuple[str, str, int, int]], most: int, title: str) -> Drawing:
    label, full = label_width([short for short, *_ in rows]), 240.0
    shapes: list[Shape] = []
    for index, (short, name, kept, before) in enumerate(rows):
        y = index * _ROW
        shapes.append(Text(label - 8, y + 13, short, "end"))
        shapes.append(Box(label, y + 3, full * before / most, 12, "faint"))
        shapes.append(Box(label, y + 3, full * kept / most, 12, "strong", told=f"{name}: {kept / before:.0%}"))
        shapes.append(Text(label + full * before / most + 6, y + 13, f"{kept} of {before}", kind="small"))
    return Drawing(label + full + 110, len(rows) * _ROW + 4, title, shapes)


@dataclass(frozen=True)
class Scale:
    """How numbers become shades: the darkest is `most`, or the largest there is; `signed` tells losses from gains."""

    unit: str = "%"
    most: float | None = None
    signed: bool = False


def shaded_layers(
    layers: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    title: str,
    scale: Scale | None = None,
) -> list[Drawing]:
    """As `shaded`, with names that are readable, and in as many drawings of the same scale as paper needs."""
    scale = scale or Scale()
    scale, names = replace(scale, most=scale.most or _largest(values)), readable(layers)
    told_each = len(layers) * len(columns) <= _RICH
    return [
        shaded(layers[part], columns, values[part], told, scale, names[part], told_each=told_each)
        for told, part in sheets(title, len(layers))
    ]


def shaded(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    title: str,
    scale: Scale | None = None,
    names: Sequence[str] | None = None,
    *,
    told_each: bool = True,
) -> Drawing:
    """A table of shaded cells below its title, the darker the larger; numbers stand in cells that are wide enough.

    Args:
        names: what is written beside the rows, where that is not what they are called.
        told_each: whether a cell has a number and tells more to a mouse, if all of them are not too many.
    """
    scale = scale or Scale()
    names = names or [shortened(name) for name in rows]
    label = label_width(names)
    wide = _cell_width(values, scale) if len(columns) <= 14 else max(8.0, 640 / len(columns))
    most = scale.most or _largest(values)
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
    if not told_each or len(cells) > _RICH:
        shapes += _plain_cells(cells, wide, most, scale)
        return size
    for x, y, value, told in cells:
        share = min(1.0, abs(value) / most)
        shapes.append(Box(x, y, wide - 1, _ROW - 1, _shade(value, scale), 0.06 + 0.9 * share, told.rstrip()))
        if wide >= _NUMBER and abs(value) > most / 1000:
            kind = "light" if share > 0.75 else "mark"
            shapes.append(Text(x + wide / 2, y + 13, _number(value, scale), "middle", kind))
    return size


def _largest(values: Sequence[Sequence[float | None]]) -> float:
    return max((abs(v) for row in values for v in row if v is not None), default=0.0) or 1.0


_NUMBER = 40.0
"""Units of the narrowest cell that has a number."""


def _number(value: float, scale: Scale) -> str:
    return f"{value:+.3g}" if scale.signed else f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def _cell_width(values: Sequence[Sequence[float | None]], scale: Scale) -> float:
    """Units for the longest of the numbers, up to what seven letters take."""
    longest = max((len(_number(v, scale)) for row in values for v in row if v is not None), default=0)
    return max(_NUMBER, 4 + 7.0 * min(longest, 7))


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
    """What a chart is called, and its axes; `full` is the largest value there can be, 100 of percents say."""

    title: str
    across: str
    up: str
    log_across: bool = False
    log_up: bool = False
    full: float | None = None


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
    height, left, top = 340.0, 52.0, 36.0
    right, bottom = _CHART - 16, height - 42
    limit_x, limit_y = limits
    across = around([*(m.x for m in marks), *([] if limit_x is None else [limit_x])], left, right, log=frame.log_across)
    ends = [*(m.y for m in marks), *([] if limit_y is None else [limit_y])]
    up = around(ends, bottom, top, margin=0.1, most=frame.full)
    shapes = _framed(frame, across, up)
    if limit_x is not None:
        shapes.append(Line([(across(limit_x), top), (across(limit_x), bottom)], "bad", 1.0))
    if limit_y is not None:
        shapes.append(Line([(left, up(limit_y)), (right, up(limit_y))], "bad", 1.0))
    shapes += [Dot(across(m.x), up(m.y), m.kind, f"{m.name}: {m.x:.4g}, {m.y:.4g}") for m in marks]
    shapes += _labels([(across(m.x), up(m.y), m.label) for m in marks if m.label])
    return Drawing(_CHART, height, frame.title, shapes)


def _labels(wanted: Sequence[tuple[float, float, str]]) -> list[Text]:
    """Labels above their points, (x, y, label) each, none over another one nor beyond the chart."""
    taken: list[tuple[float, float, float]] = []
    found = []
    for x, y, content in sorted(wanted, key=lambda each: -each[1]):
        label = shortened(content, 40)
        long = _LETTER * len(label)
        fits = x - 4 + long <= _CHART
        start, y = x - 4 if fits else x + 4 - long, y - 9
        while any(abs(y - other) < 13 and start < end and first < start + long for first, end, other in taken):
            y -= 13
        taken.append((start, start + long, y))
        found.append(Text(start if fits else x + 4, y, label, "start" if fits else "end", "mark"))
    return found


@dataclass(frozen=True)
class Timed:
    """What a model takes: the median, and what nine of ten runs stay below, in milliseconds."""

    name: str
    median: float
    p90: float
    kind: str


def times(found: Sequence[Timed], title: str, legend: Sequence[tuple[str, str]] = ()) -> Drawing:
    """A line for each model below its name: a dot at its median, a whisker up to its p90, the median in numbers.

    Args:
        legend: what colours mean, (meaning, colour) each, where the names do not tell.
    """
    left, right, first, row = 12.0, _CHART - 64, _TITLE + 34.0, 36.0
    bottom = first + len(found) * row
    ends = [end for item in found for end in (item.median, max(item.median, item.p90))]
    across = around(ends, left, right, log=True)
    if not across.log:
        across = Axis(0.0, across.high, left, right)
    unit = "milliseconds, logarithmic" if across.log else "milliseconds"
    shapes: list[Shape] = [Text(4, 14, title), Text(4, 30, unit, kind="small")]
    for tick in across.ticks():
        shapes.append(Line([(across(tick), first), (across(tick), bottom)], "axis", 1.0))
        shapes.append(Text(across(tick), first - 6, f"{tick:g}", "middle", "small"))
    for index, item in enumerate(found):
        y = first + index * row + 26
        x, end = across(item.median), across(max(item.median, item.p90))
        shapes.append(Text(left + 4, y - 11, shortened(item.name, 60)))
        shapes += _whisker(x, end, y)
        shapes.append(Dot(x, y, item.kind, f"{item.name}: median {item.median:.4g} ms, p90 {item.p90:.4g} ms"))
        shapes.append(Text(right + 12, y + 4, f"{item.median:.2f}", kind="mark"))
    shapes.append(Dot(left + 5, bottom + 20, "s0", radius=4.0))
    shapes.append(Text(left + 14, bottom + 24, "median", kind="small"))
    shapes += _whisker(left + 70, left + 90, bottom + 20)
    shapes.append(Text(left + 98, bottom + 24, "up to p90, below which nine of ten stay", kind="small"))
    for index, (meaning, kind) in enumerate(legend):
        shapes.append(Dot(left + 5 + 110 * index, bottom + 38, kind, radius=4.0))
        shapes.append(Text(left + 14 + 110 * index, bottom + 42, meaning, kind="small"))
    return Drawing(_CHART, bottom + (52 if legend else 34), title, shapes)


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

"""How the values of weights and inputs lie on the grids that they are rounded to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ppcls_compress.report.charts.axis import Axis
from ppcls_compress.report.charts.drawing import Boxes, Drawing, Line, Shape, Text
from ppcls_compress.report.charts.kinds import readable
from ppcls_compress.slim.quant import Distribution

_WIDE, _HIGH, _LEFT, _BETWEEN = 214.0, 104.0, 14.0, 26.0
_BARS = 36.0


_PIECE = 8
"""Layers of a drawing: as many as a sheet of paper has place for."""


def histograms(rows: Sequence[tuple[str, Distribution | None, Distribution | None]], title: str) -> list[Drawing]:
    """Of each layer (name, weight, input) how values lie on their grids, in pieces; heights are logarithms."""
    named = list(zip(readable([name for name, _, _ in rows]), (pair for _, *pair in rows), strict=True))
    pieces = [named[start : start + _PIECE] for start in range(0, len(named), _PIECE)]
    count = len(pieces)
    return [_piece(piece, f"{title}, {i} of {count}" if count > 1 else title) for i, piece in enumerate(pieces, 1)]


def _piece(rows: Sequence[tuple[str, Sequence[Distribution | None]]], title: str) -> Drawing:
    starts = (_LEFT, _LEFT + _WIDE + _BETWEEN)
    shapes: list[Shape] = [
        Text(starts[0], 14, "weight, in steps of each channel's grid", kind="small"),
        Text(starts[1], 14, "input, in steps of its grid", kind="small"),
    ]
    for index, (name, pair) in enumerate(rows):
        y = 26 + index * _HIGH
        shapes.append(Text(_LEFT, y + 14, name))
        for left, found in zip(starts, pair, strict=True):
            if found is not None:
                told = f"{found.bits} bits to {found.limit:.3g}, beyond it {found.clipped:.2%}"
                shapes.append(Text(left, y + 30, told, kind="small"))
                shapes += _histogram(found, left, y + 38)
    return Drawing(starts[1] + _WIDE + _LEFT, 30 + len(rows) * _HIGH, title, shapes)


def _histogram(found: Distribution, left: float, top: float) -> list[Shape]:
    """Bars, those beyond the grid in another colour, and the ends of the grid as lines."""
    across, bottom = Axis(found.start, found.end, left, left + _WIDE), top + 40
    tallest = math.log1p(max(found.counts)) or 1.0
    width = (found.end - found.start) / len(found.counts)
    inside, beyond = [], []
    for index, count in enumerate(found.counts):
        start, height = found.start + index * width, _BARS * math.log1p(count) / tallest
        place = (across(start), bottom - height, across(start + width) - across(start) - 0.5, height)
        if count:
            (inside if found.low - 0.5 <= start + width / 2 <= found.high + 0.5 else beyond).append(place)
    shapes: list[Shape] = [Line([(left, bottom), (left + _WIDE, bottom)], "axis", 1.0)]
    shapes += [Boxes(boxes, kind) for boxes, kind in ((inside, "strong"), (beyond, "bad")) if boxes]
    for end, anchor in ((found.low, "start"), (found.high, "end")):
        shapes.append(Line([(across(end), top), (across(end), bottom + 4)], "whisker", 1.0))
        shapes.append(Text(across(end), bottom + 15, f"{end}", anchor, "small"))
    return shapes

"""How the values of weights and inputs lie on the grids that they are rounded to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ppcls_compress.report.charts.axis import Axis
from ppcls_compress.report.charts.drawing import Boxes, Drawing, Line, Shape, Text
from ppcls_compress.report.charts.kinds import label_width, readable
from ppcls_compress.slim.quant import Distribution

_WIDE, _HIGH, _NOTE = 230.0, 62.0, 310.0
_BARS = 36.0


def histograms(rows: Sequence[tuple[str, Distribution | None, Distribution | None]], title: str) -> Drawing:
    """Of each layer (name, weight, input) how values lie on their grids; heights are logarithms of counts."""
    names = readable([name for name, _, _ in rows])
    left = max(_NOTE, label_width(names)) + 16
    shapes: list[Shape] = [
        Text(left, 14, "weight, in steps of each channel's grid", kind="small"),
        Text(left + _WIDE + 30, 14, "what it reads, in steps of its grid", kind="small"),
    ]
    for index, (_, *pair) in enumerate(rows):
        y = 26 + index * _HIGH
        known = [(what, each) for what, each in zip(("weight", "input"), pair, strict=True) if each is not None]
        told = ", ".join(f"{what} {each.bits} bits to {each.limit:.3g}" for what, each in known)
        clipped = ", ".join(f"{each.clipped:.2%} of the {what}" for what, each in known)
        shapes.append(Text(left - 16, y + 18, names[index], "end"))
        shapes.append(Text(left - 16, y + 33, told, "end", "small"))
        shapes.append(Text(left - 16, y + 47, f"beyond it: {clipped}" if clipped else "", "end", "small"))
        for place, found in enumerate(pair):
            if found is not None:
                shapes += _histogram(found, left + place * (_WIDE + 30), y)
    return Drawing(left + 2 * _WIDE + 50, 30 + len(rows) * _HIGH, title, shapes)


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

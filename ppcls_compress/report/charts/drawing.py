"""Drawings as data: boxes, lines, dots and texts by what they mean, written as SVG for the page or as a PNG.

The page's style gives colours to an SVG; a PNG has those of a bright page, at twice the size. Lengths are in units of
the drawing, pixels on a wide screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from html import escape
from pathlib import Path
from typing import Any

from ppcls_compress import io
from ppcls_compress.report.charts.palette import LIGHT

Point = tuple[float, float]
_READABLE = 0.72
"""A drawing shrinks with the page to this share of its size; further, it is moved sideways."""
_SCALE = 2
_SIZES = {"": 12, "small": 11, "light": 11, "mark": 11}
_MOST = 12_000
"""Pixels of a side of a PNG."""


@dataclass(frozen=True)
class Box:
    """A filled rectangle; `told` appears where a mouse rests."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    opacity: float = 1.0
    told: str = ""


@dataclass(frozen=True)
class Boxes:
    """Many rectangles (x, y, width, height) of one look, in far fewer bytes."""

    boxes: Sequence[tuple[float, float, float, float]]
    kind: str
    opacity: float = 1.0


@dataclass(frozen=True)
class Line:
    """A line through points."""

    points: Sequence[Point]
    kind: str
    width: float = 2.0


@dataclass(frozen=True)
class Dot:
    """A filled circle; `told` appears where a mouse rests."""

    x: float
    y: float
    kind: str
    told: str = ""
    radius: float = 5.0


@dataclass(frozen=True)
class Text:
    """A line of text; `anchor` is which end or middle of it stands at x; it is turned upwards if so said."""

    x: float
    y: float
    content: str
    anchor: str = "start"
    kind: str = ""
    turned: bool = False


Shape = Box | Boxes | Line | Dot | Text


@dataclass(frozen=True)
class Drawing:
    """Shapes on an area of so many units; `title` says what they show to those who cannot see them."""

    width: float
    height: float
    title: str
    shapes: Sequence[Shape]

    def svg(self) -> str:
        """As an element of the page, which shrinks with it as far as its texts can be read."""
        style = f"width:{self.width:.0f}px;min-width:{_READABLE * self.width:.0f}px"
        shapes = "".join(_svg(shape) for shape in self.shapes)
        return (
            f'<svg viewBox="0 0 {self.width:.0f} {self.height:.0f}" style="{style}" role="img" '
            f'aria-label="{escape(self.title)}">{shapes}</svg>'
        )

    def write_png(self, file: Path) -> None:
        """As a picture on white, for slides and documents.

        Raises:
            UserError: it cannot be written.
        """
        from PIL import Image, ImageDraw

        scale = min(_SCALE, _MOST / max(self.width, self.height))
        size = (max(1, round(self.width * scale)), max(1, round(self.height * scale)))
        image = Image.new("RGB", size, LIGHT["paper"])
        canvas = ImageDraw.Draw(image)
        for shape in self.shapes:
            _paint(shape, canvas, scale)
        with io.atomic(file) as partial:
            image.save(partial, "PNG", compress_level=3)


def stacked(drawings: Sequence[Drawing], title: str) -> Drawing:
    """Drawings below one another, as one."""
    shapes, y = [], 0.0
    for drawing in drawings:
        shapes += [_lowered(shape, y) for shape in drawing.shapes]
        y += drawing.height + 16
    return Drawing(max(drawing.width for drawing in drawings), y, title, shapes)


def _lowered(shape: Shape, by: float) -> Shape:
    if isinstance(shape, Line):
        return replace(shape, points=[(x, y + by) for x, y in shape.points])
    if isinstance(shape, Boxes):
        return replace(shape, boxes=[(x, y + by, width, height) for x, y, width, height in shape.boxes])
    return replace(shape, y=shape.y + by)


@singledispatch
def _svg(shape: Any) -> str:
    raise TypeError(f"no drawing of {type(shape).__name__}")


@_svg.register
def _(shape: Box) -> str:
    opacity = "" if shape.opacity == 1 else f' fill-opacity="{shape.opacity:.2f}"'
    start = (
        f'<rect x="{shape.x:.4g}" y="{shape.y:.4g}" width="{shape.width:.4g}" height="{shape.height:.4g}" '
        f'class="{shape.kind}"{opacity}'
    )
    return f"{start}><title>{escape(shape.told)}</title></rect>" if shape.told else f"{start}/>"


@_svg.register
def _(shape: Boxes) -> str:
    path = "".join(f"M{x:.5g} {y:.5g}h{w:.4g}v{h:.4g}h-{w:.4g}z" for x, y, w, h in shape.boxes)
    opacity = "" if shape.opacity == 1 else f' fill-opacity="{shape.opacity:.2f}"'
    return f'<path d="{path}" class="{shape.kind}"{opacity}/>'


@_svg.register
def _(shape: Line) -> str:
    path = "L".join(f"{x:.5g} {y:.5g}" for x, y in shape.points)
    return f'<path d="M{path}" class="line {shape.kind}" stroke-width="{shape.width:g}"/>'


@_svg.register
def _(shape: Dot) -> str:
    told = f"<title>{escape(shape.told)}</title>" if shape.told else ""
    return f'<circle cx="{shape.x:.5g}" cy="{shape.y:.5g}" r="{shape.radius:g}" class="{shape.kind}">{told}</circle>'


@_svg.register
def _(shape: Text) -> str:
    turned = f' transform="rotate(-90 {shape.x:.5g} {shape.y:.5g})"' if shape.turned else ""
    anchor = "" if shape.anchor == "start" else f' text-anchor="{shape.anchor}"'
    kind = f' class="{shape.kind}"' if shape.kind else ""
    return f'<text x="{shape.x:.5g}" y="{shape.y:.5g}"{anchor}{kind}{turned}>{escape(shape.content)}</text>'


@singledispatch
def _paint(shape: Any, canvas: Any, scale: float) -> None:
    raise TypeError(f"no picture of {type(shape).__name__}")


@_paint.register
def _(shape: Box, canvas: Any, scale: float) -> None:
    _fill(canvas, scale, (shape.x, shape.y, shape.width, shape.height), _mixed(shape.kind, shape.opacity))


@_paint.register
def _(shape: Boxes, canvas: Any, scale: float) -> None:
    colour = _mixed(shape.kind, shape.opacity)
    for box in shape.boxes:
        _fill(canvas, scale, box, colour)


@_paint.register
def _(shape: Line, canvas: Any, scale: float) -> None:
    points = [(x * scale, y * scale) for x, y in shape.points]
    canvas.line(points, fill=_mixed(shape.kind, 1.0), width=max(1, round(shape.width * scale)), joint="curve")


@_paint.register
def _(shape: Dot, canvas: Any, scale: float) -> None:
    x, y, radius = shape.x * scale, shape.y * scale, shape.radius * scale
    canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_mixed(shape.kind, 1.0))


@_paint.register
def _(shape: Text, canvas: Any, scale: float) -> None:
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=_SIZES.get(shape.kind, 12) * scale)
    colour = {"small": LIGHT["soft"], "light": LIGHT["paper"]}.get(shape.kind, LIGHT["ink"])
    x, y = shape.x * scale, shape.y * scale
    if not shape.turned:
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
        canvas.text((x, y), shape.content, fill=colour, font=font, anchor=anchor)
        return
    left, top, right, bottom = font.getbbox(shape.content, anchor="ls")
    upright = Image.new("L", (max(1, round(right - left)), max(1, round(bottom - top))))
    ImageDraw.Draw(upright).text((-left, -top), shape.content, fill=255, font=font, anchor="ls")
    turned = upright.rotate(90, expand=True)
    back = {"start": turned.height, "middle": turned.height // 2, "end": 0}[shape.anchor]
    canvas.bitmap((round(x + top), round(y - back)), turned, fill=colour)


def _fill(canvas: Any, scale: float, box: tuple[float, float, float, float], colour: tuple[int, int, int]) -> None:
    x, y, width, height = (length * scale for length in box)
    canvas.rectangle((x, y, max(x, x + width - 1), max(y, y + height - 1)), fill=colour)


def _mixed(kind: str, opacity: float) -> tuple[int, int, int]:
    """A colour over the paper."""
    from PIL import ImageColor

    inks = [ImageColor.getrgb(colour) for colour in (LIGHT[_COLOUR.get(kind, kind)], LIGHT["paper"])]
    return tuple(round(opacity * ink + (1 - opacity) * paper) for ink, paper in zip(*inks, strict=True))


_COLOUR = {"faint": "line", "axis": "line", "whisker": "ink"}
"""The colour of what is not called like one, as style.css has it."""

"""Draws the figures of docs/methods.md: `python benchmarks/figures.py` writes them to docs/images.

They are drawn from numbers that are computed here, not by hand, and follow a dark desktop.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ppcls_compress.report.charts.axis import Axis
from ppcls_compress.report.charts.drawing import Box, Dot, Drawing, Line, Shape, Text
from ppcls_compress.report.charts.palette import DARK, LIGHT, SERIES, variables

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
_STYLE = (
    f"svg{{{variables(LIGHT)}}}"
    f"@media (prefers-color-scheme: dark){{svg{{{variables(DARK)}}}}}"
    "text{fill:var(--ink);font:12px system-ui,sans-serif}.small{fill:var(--soft);font-size:11px}"
    ".paper{fill:var(--paper)}.line{fill:none;stroke-linejoin:round}.axis{stroke:var(--line)}"
    + "".join(f".{name}{{fill:var(--{name})}}.line.{name}{{fill:none;stroke:var(--{name})}}" for name in SERIES)
)
GREY, BLUE, ORANGE, GREEN, _, RED = SERIES


def filters() -> np.ndarray:
    """Fourteen filters of two weights each, [14, 2]: a cloud away from zero, two small ones and two large ones."""
    rng = np.random.default_rng(8)
    cloud = rng.normal([1.5, 1.2], [0.45, 0.4], (10, 2))
    return np.concatenate([cloud, [[0.35, 0.1], [-0.25, 0.5], [3.4, 0.5], [0.5, 2.9]]])


def distances(points: np.ndarray) -> np.ndarray:
    """The sum of distances of each point to the others: equation 7 of He et al. 2019."""
    return np.linalg.norm(points[:, None] - points[None], axis=-1).sum(axis=1)


def geometric_median(points: np.ndarray) -> np.ndarray:
    """The point with the least sum of distances to some, by Weiszfeld's iteration."""
    median = points.mean(axis=0)
    for _ in range(200):
        weight = 1 / np.maximum(np.linalg.norm(points - median, axis=1), 1e-12)
        median = (points * weight[:, None]).sum(axis=0) / weight.sum()
    return median


def fpgm() -> Drawing:
    """Which of some filters go by their norm, and which by their distance to the others."""
    points, shapes = filters(), []
    panels = [
        ("by norm: the four nearest to zero go", np.linalg.norm(points, axis=1), np.zeros(2), "zero"),
        ("FPGM: the four nearest to the median go", distances(points), geometric_median(points), "geometric median"),
    ]
    for index, (title, score, centre, name) in enumerate(panels):
        left = 20 + 330 * index
        across, up = Axis(-0.8, 3.8, left, left + 290), Axis(-0.4, 3.3, 290, 40)
        gone = set(np.argsort(score)[:4].tolist())
        shapes += [Text(left, 20, title), Line([(across(-0.8), up(0)), (across(3.8), up(0))], "axis", 1)]
        shapes.append(Line([(across(0), up(-0.4)), (across(0), up(3.3))], "axis", 1))
        x, y = across(centre[0]), up(centre[1])
        shapes += [Line([(x, y), (across(points[item][0]), up(points[item][1]))], "s5", 1) for item in sorted(gone)]
        shapes += [
            Dot(across(a), up(b), RED if item in gone else BLUE, f"score {score[item]:.2f}")
            for item, (a, b) in enumerate(points)
        ]
        shapes += [Line([(x - 6, y), (x + 6, y)], ORANGE, 3), Line([(x, y - 6), (x, y + 6)], ORANGE, 3)]
        shapes.append(Text(x + 12, y + 34 if index else y + 16, name, kind="small"))
    title = "Filters of two weights as points: a norm removes those near zero, FPGM those near the geometric median"
    return Drawing(660, 305, title, [*shapes, *_legend(20, 300, [(RED, "goes"), (BLUE, "stays")])])


def pact() -> Drawing:
    """What PACT's clip gives, and the gradient of its alpha."""
    alpha, levels = 1.5, 3
    x = np.linspace(-3, 3, 601)
    clipped = np.clip(x, -alpha, alpha)
    rounded = np.round(clipped * levels / alpha) * alpha / levels
    shapes: list[Shape] = []
    across, up = Axis(-3, 3, 30, 310), Axis(-2, 2, 250, 40)
    shapes += _frame(across, up, "clipped and rounded, three bits", "x")
    shapes += _curves(across, up, x, {GREY: x, BLUE: clipped, ORANGE: rounded})
    for end, name in ((alpha, "alpha"), (-alpha, "-alpha")):
        shapes += [Line([(across(end), up(-2)), (across(end), up(2))], "axis", 1)]
        shapes.append(Text(across(end), up(-2) + 14, name, "middle", "small"))
    across, up = Axis(-3, 3, 360, 640), Axis(-1.5, 1.5, 250, 40)
    slope = np.where(x > alpha, 1.0, np.where(x < -alpha, -1.0, 0.0))
    shapes += _frame(across, up, "the gradients that training uses", "x")
    shapes += _curves(across, up, x, {BLUE: (np.abs(x) <= alpha).astype(float), ORANGE: slope})
    shapes += [
        Text(across(3) + 2, up(value) + 4, f"{value:+d}" if value else "0", kind="small") for value in (1, 0, -1)
    ]
    left = [(GREY, "x"), (BLUE, "y, clipped"), (ORANGE, "z, rounded too")]
    shapes += [*_legend(30, 285, left), *_legend(360, 285, [(BLUE, "dz/dx"), (ORANGE, "dz/dalpha")])]
    return Drawing(670, 295, "PACT clips at alpha and rounds; its gradient is 1 beyond and 0 within", shapes)


def channel_grids() -> Drawing:
    """Four channels of weights on one grid, and on one for each."""
    rng, shapes = np.random.default_rng(2), []
    deviations = (0.5, 0.22, 0.07, 0.02)
    weights = [rng.normal(0, deviation, 40) for deviation in deviations]
    largest = max(np.abs(values).max() for values in weights)
    for panel, title in enumerate(("one grid for all channels", "one for each channel")):
        left = 30 + 330 * panel
        across = Axis(-largest, largest, left, left + 280)
        shapes.append(Text(left, 20, f"{title}, four bits"))
        for channel, values in enumerate(weights):
            y = 55 + 55 * channel
            limit = largest if panel == 0 else np.abs(values).max()
            steps = np.arange(-7, 8) * limit / 7
            shapes.append(Line([(across(-limit), y), (across(limit), y)], "axis", 1))
            shapes += [Line([(across(step), y - 9), (across(step), y + 9)], ORANGE, 1) for step in steps]
            shapes += [Dot(across(value), y, BLUE, radius=2.5) for value in values]
            rounded = np.round(values * 7 / limit) * limit / 7
            kept = 10 * np.log10((values**2).sum() / ((values - rounded) ** 2).sum())
            shapes.append(Text(left + 280, y + 24, f"signal {kept:.0f} dB above rounding", "end", "small"))
    shapes += _legend(30, 285, [(BLUE, "weights of a channel"), (ORANGE, "what they are rounded to")])
    return Drawing(670, 295, "Weights of four channels: one grid leaves the small ones a level or two", shapes)


def hard_swish() -> Drawing:
    """What a hard-swish gives, on a symmetric grid and on one whose zero lies elsewhere, four bits."""
    x = np.linspace(-4, 4, 401)
    y = x * np.clip(x + 3, 0, 6) / 6
    low, high = float(y.min()), float(y.max())
    step = (high - low) / 15
    zero = round(-low / step)
    grids = [
        ("symmetric: -7 .. 7", np.arange(-7, 8) * high / 7),
        (f"asymmetric: 0 .. 15, zero is {zero}", (np.arange(16) - zero) * step),
    ]
    shapes: list[Shape] = []
    for panel, (title, levels) in enumerate(grids):
        left = 30 + 330 * panel
        across, up = Axis(-4, 4, left, left + 280), Axis(-4.4, 4.4, 255, 40)
        used = int(((levels >= low - step / 2) & (levels <= high + step / 2)).sum())
        shapes.append(Text(left, 20, f"{title}; {used} of {len(levels)} levels used"))
        for level in levels:
            within = low - step / 2 <= level <= high + step / 2
            shapes.append(Line([(across(-4), up(level)), (across(4), up(level))], ORANGE if within else GREY, 1))
        shapes += _curves(across, up, x, {BLUE: y})
        shapes.append(Text(across(4), up(-4.4) + 12, "x", "end", "small"))
    shapes += _legend(30, 288, [(BLUE, "hard-swish"), (ORANGE, "levels it reaches"), (GREY, "levels it never reaches")])
    return Drawing(670, 298, "Hard-swish gives at least -0.375: half of a symmetric grid is for nothing", shapes)


def _frame(across: Axis, up: Axis, title: str, name: str) -> list[Shape]:
    zero = [
        Line([(across.start, up(0)), (across.end, up(0))], "axis", 1),
        Line([(across(0), up.start), (across(0), up.end)], "axis", 1),
    ]
    return [Text(across.start, 20, title), *zero, Text(across.end, up(0) + 16, name, "end", "small")]


def _curves(across: Axis, up: Axis, x: np.ndarray, curves: Mapping[str, np.ndarray]) -> list[Shape]:
    inside = up.low, up.high
    found: list[Shape] = []
    for kind, values in curves.items():
        shown = (values >= inside[0]) & (values <= inside[1])
        points = [(across(a), up(b)) for a, b in zip(x[shown], values[shown], strict=True)]
        found.append(Line(_without_straights(points), kind, 2))
    return found


def _without_straights(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A line without the points that lie on it, so that the file is small."""
    kept = [points[0]]
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        one, other = (here[0] - before[0], here[1] - before[1]), (after[0] - here[0], after[1] - here[1])
        if abs(one[0] * other[1] - one[1] * other[0]) > 1e-6:
            kept.append(here)
    return [*kept, points[-1]]


def _legend(x: float, y: float, entries: Sequence[tuple[str, str]]) -> list[Shape]:
    shapes: list[Shape] = []
    for kind, name in entries:
        shapes += [Box(x, y - 9, 10, 10, kind), Text(x + 15, y, name, kind="small")]
        x += 30 + 6.2 * len(name)
    return shapes


FIGURES: Mapping[str, Callable[[], Drawing]] = {
    "fpgm": fpgm,
    "pact": pact,
    "channel_grids": channel_grids,
    "hard_swish": hard_swish,
}


def svg(drawing: Drawing) -> str:
    """A file of its own, on its own ground, so that it can be read whatever colour the page around it has."""
    ground = Box(0, 0, drawing.width, drawing.height, "paper")
    text = Drawing(drawing.width, drawing.height, drawing.title, [ground, *drawing.shapes]).svg()
    head, _, body = text.partition(">")
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{head}><style>{_STYLE}</style>{body}\n"


def main() -> None:
    """Write every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=IMAGES)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        (out / f"{name}.svg").write_text(svg(draw()), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Drawings tell their numbers, fit names of any length, and stay small for networks of a hundred layers and more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.outline import outline

from ppcls_compress.report.benchmark import Row
from ppcls_compress.report.charts import grids
from ppcls_compress.report.charts import kinds as charts
from ppcls_compress.report.charts.axis import Axis, around
from ppcls_compress.report.charts.drawing import Box, Drawing, Line, Text
from ppcls_compress.report.page import about, comparison
from ppcls_compress.report.page.answers import Answers
from ppcls_compress.report.page.comparison import Measured
from ppcls_compress.report.page.html import Section
from ppcls_compress.report.page.runs import Epoch, Run
from ppcls_compress.report.page.write import Page, write
from ppcls_compress.slim.quant import Distribution

LAYERS = [f"backbone.stages.{index // 8}.blocks.{index % 8}.depthwise_convolution.conv" for index in range(120)]


def texts(drawing):
    return [shape.content for shape in drawing.shapes if isinstance(shape, Text)]


def test_names_of_layers_keep_what_tells_them_apart():
    values = [[1.0 * ratio for ratio in range(9)] for _ in LAYERS]
    drawn = charts.shaded_layers(LAYERS, [f"{ratio}0%" for ratio in range(1, 10)], values, "sensitivities")
    names = [text for drawing in drawn for text in texts(drawing) if ".blocks." in text]
    assert len(set(names)) == len(LAYERS)
    assert all(len(name) <= 46 for name in names)
    assert "14.blocks.7" in names
    rows = sorted(shape.y for shape in drawn[0].shapes if isinstance(shape, Text) and ".blocks." in shape.content)
    assert min(np.diff(rows)) >= 12  # units of a letter's height


def test_cells_tell_their_numbers_and_gains_and_losses_have_colours():
    drawn = charts.shaded(["r"], ["a", "b"], [[50.0, None]], "title")
    outline(drawn.svg())
    assert drawn.svg().count("<rect") == 1
    assert "r, a: 50 %" in drawn.svg()
    (frame,) = (shape for shape in drawn.shapes if isinstance(shape, Line))  # around the empty cell too
    assert max(x for x, _ in frame.points) - min(x for x, _ in frame.points) >= 2 * 40
    signed = charts.shaded(["r"], ["a", "b"], [[5.0, -5.0]], "title", charts.Scale(signed=True))
    assert [shape.kind for shape in signed.shapes if isinstance(shape, Box)] == ["good", "bad"]


def test_axes_are_logarithmic_where_values_span_and_have_round_numbers():
    frame = charts.Frame("title", "ms", "top-1 %", log_across=True)
    wide = charts.points([charts.Mark("slow", 40.0, 90.0), charts.Mark("fast", 1.0, 89.0)], frame)
    assert "ms (logarithmic)" in texts(wide)
    assert "ms" in texts(charts.points([charts.Mark("one", 2.0, 90.0)], frame))
    assert Axis(0.0, 1.0, 0, 1).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert Axis(1.0, 1000.0, 0, 1, log=True).ticks() == [1, 10, 100, 1000]
    assert around([3.0, 3.0], 0, 10)(3.0) == pytest.approx(5.0)
    assert len(around([1e-9, 1.0], 0, 1, log=True).ticks()) <= 10


def test_times_have_a_whisker_to_the_p90_and_say_so():
    drawn = charts.times([charts.Timed("int8", 1.0, 1.5, "s1"), charts.Timed("float", 2.0, 2.0, "s0")], "latency")
    assert "int8: median 1 ms, p90 1.5 ms" in drawn.svg()
    assert any(text.startswith("up to p90") for text in texts(drawn))


def test_what_lies_beyond_a_grid_has_another_colour():
    found = Distribution((1, 5, 2), -3.0, 3.0, -1, 1, 8, 0.5, 0.25)
    (drawn,) = (drawing.svg() for drawing in grids.histograms([("conv", None, found)], "title"))
    assert 'class="bad"' in drawn
    assert "8 bits to 0.5, beyond it 25.00%" in drawn


BELL = Distribution((1, 5, 2), -3.0, 3.0, -1, 1, 8, 0.5, 0.25)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: grids.histograms([(name, BELL, BELL) for name in LAYERS], "title"),
        lambda: charts.kept_bars([(name, 3, 4) for name in LAYERS], "title"),
        lambda: charts.shaded_layers(LAYERS, ["10%"], [[1.0]] * len(LAYERS), "title"),
    ],
    ids=["histograms", "kept", "shaded"],
)
def test_drawings_of_many_layers_are_pieces_that_a_sheet_of_paper_has_place_for(draw):
    drawn = draw()
    names = [text for drawing in drawn for text in texts(drawing) if ".blocks." in text]
    assert len(names) == len(set(names)) == len(LAYERS)
    assert max(drawing.height for drawing in drawn) < 1047  # 277 mm
    assert len({drawing.title for drawing in drawn}) == len(drawn)


def test_of_cells_that_are_too_many_in_all_only_the_shades_are_drawn_in_every_piece():
    epochs = [f"{epoch}" for epoch in range(30)]
    drawn = charts.shaded_layers(LAYERS, epochs, [[1.0] * 30] * len(LAYERS), "title")
    assert not any(isinstance(shape, Box) for drawing in drawn for shape in drawing.shapes)


def test_pieces_of_a_drawing_have_one_scale():
    losses = [[float(1 + index)] for index in range(len(LAYERS))]
    first, *_, last = charts.shaded_layers(LAYERS, ["10%"], losses, "title")
    assert max(shape.opacity for shape in first.shapes if isinstance(shape, Box)) < 0.5
    assert max(shape.opacity for shape in last.shapes if isinstance(shape, Box)) == pytest.approx(0.96)
    first, *_, last = charts.kept_bars([(name, index + 1, 120) for index, name in enumerate(LAYERS)], "title")
    filled = [max(s.width for s in drawing.shapes if getattr(s, "kind", "") == "strong") for drawing in (first, last)]
    assert filled[1] / filled[0] == pytest.approx(120 / 48)


WIDE_ON_A_PHONE = 350
"""Pixels between the margins of a screen of 390."""


def smallest_width(drawing):
    return float(drawing.svg().split("min-width:")[1].split("px")[0])


def test_charts_are_not_moved_sideways_on_a_phone_however_long_their_names_are():
    long = "a name that is much longer than a phone is wide, quantized, on integer kernels, in ONNX Runtime"
    frame = charts.Frame("title", "ms", "top-1 %")
    classes = [f"class {index}" for index in range(10)]
    drawn = [
        charts.times([charts.Timed(long, 1.0, 1.5, "s1"), charts.Timed("float", 2.0, 2.0, "s0")], "latency"),
        charts.points([charts.Mark(long, 1.0, 90.0, label=long), charts.Mark("b", 2.0, 80.0, label=long)], frame),
        charts.shaded(classes, classes, [[100.0] * 10] * 10, "title"),
        *charts.kept_bars([("blocks.0.conv1", 11, 16)], "title"),
        *grids.histograms([(long, BELL, BELL)], "title"),
    ]
    assert [round(smallest_width(drawing)) for drawing in drawn if smallest_width(drawing) > WIDE_ON_A_PHONE] == []
    for drawing in drawn:
        for text in (shape for shape in drawing.shapes if isinstance(shape, Text) and not shape.turned):
            reach = 6.6 * len(text.content)
            first = text.x - {"start": 0, "middle": reach / 2, "end": reach}[text.anchor]
            assert first >= 0
            assert first + reach <= drawing.width


def test_labels_of_points_do_not_cover_one_another():
    frame = charts.Frame("title", "ms", "top-1 %")
    marks = [charts.Mark(f"{x}", x, 90.0, label=f"network {x}, on integer kernels") for x in (1.0, 1.1, 9.0, 9.1)]
    placed = [shape for shape in charts.points(marks, frame).shapes if isinstance(shape, Text) and shape.kind == "mark"]
    assert len(placed) == 4
    spans = [
        (text.y, *sorted((text.x, text.x + (6.6 if text.anchor == "start" else -6.6) * len(text.content))))
        for text in placed
    ]
    for index, (y, start, end) in enumerate(spans):
        for other, first, last in spans[index + 1 :]:
            assert abs(y - other) >= 12 or end <= first or last <= start


def test_no_axis_goes_beyond_the_largest_value_there_can_be():
    frame = charts.Frame("title", "ms", "top-1 %", full=100.0)
    drawn = texts(charts.points([charts.Mark("a", 1.0, 98.6), charts.Mark("b", 2.0, 98.6)], frame))
    assert "100" in drawn
    assert not {"102", "105", "110", "120"} & set(drawn)
    assert around([98.0, 101.0], 0, 10, most=100.0).high == 101.0


def test_sections_about_layers_tell_what_the_record_has():
    layer = {
        "name": "a&b",
        "before": {"shape": [16, 3, 3, 3], "flops": 90},
        "after": {"shape": [9, 3, 3, 3], "flops": 50},
    }
    drawn, folded = about.kept({"layers": [layer, {**layer, "name": "fc", "before": {"shape": [8, 4], "flops": 1}}]})
    assert "a&amp;b" in drawn.svg()
    assert "9 of 16" in texts(drawn)
    assert "16 x 3 x 3 x 3" in folded.parts[0]
    _, shown = about.ranges([{"epoch": 1, "layers": [("conv", 2.5, 0.125)]}])
    clipped, alpha = shown.drawings
    assert "12.5" in texts(clipped)
    assert "2.5" in texts(alpha)


def test_several_iterations_of_pruning_are_told_from_the_first_to_the_last():
    def step(before, after):
        row = {"name": "conv", "before": {"shape": [before, 3, 3, 3]}, "after": {"shape": [after, 3, 3, 3]}}
        return {"kind": "prune", "before": {"flops": before}, "after": {"flops": after}, "layers": [row]}

    found = about.pruning({"version": 1, "steps": [step(16, 12), step(12, 8)]})
    assert (found["before"], found["after"]) == ({"flops": 16}, {"flops": 8})
    (row,) = found["layers"]
    assert (row["before"]["shape"][0], row["after"]["shape"][0]) == (16, 8)
    assert about.pruning({"version": 1, "steps": []}) is None


def test_a_picture_shows_what_the_page_does(tmp_path):
    shapes = [Box(10, 10, 20, 20, "strong"), Text(60, 60, "up", turned=True), Text(5, 90, "text")]
    Drawing(100, 100, "title", shapes).write_png(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png").convert("RGB")
    assert image.size == (200, 200)
    red, _, blue = image.getpixel((40, 40))
    assert blue > red + 100
    assert image.crop((100, 60, 130, 125)).getextrema()[0][0] < 200  # the turned text
    assert image.getpixel((190, 10)) == (255, 255, 255)


def large() -> Page:
    """A network of 120 layers, pruned and quantized in 90 epochs, before and after, on 1,000 classes."""
    rng = np.random.default_rng(0)
    whole, cut = {"shape": [512, 512, 3, 3], "flops": 10**8}, {"shape": [384, 384, 3, 3], "flops": 10**7}
    kept = {f"{name}.weight": {"0": list(range(0, 512, 2)), "1": list(range(100, 484))} for name in LAYERS}
    prune = {"kind": "prune", "layers": [{"name": name, "before": whole, "after": cut} for name in LAYERS]}
    prune |= {key: {"params": 10**8 + size, "flops": 10**9 + size} for key, size in (("before", 10**8), ("after", 0))}
    prune |= {"kept": kept, "pinned": [{"layer": name, "op": "conv2d", "reason": "why " * 9} for name in LAYERS]}
    quant = {"kind": "quant", "options": {"weight_bits": 8, "activation_bits": 8}, "quantized": LAYERS, "skipped": []}
    bell = Distribution(tuple(rng.integers(0, 10**6, 48).tolist()), -190.0, 190.0, -127, 127, 8, 1.234, 0.0123)
    epochs = range(1, 91)
    run = Run(
        "small",
        Path("small"),
        [],
        {"version": 1, "steps": [prune, quant]},
        [Epoch(epoch, 1 / epoch, 0.1, {"top1": 0.5}, {"top1": 0.6, "loss": 1.0}, "top1", 90) for epoch in epochs],
        [{"epoch": epoch, "layers": [(name, epoch / 7, 0.01) for name in LAYERS]} for epoch in epochs],
        [(name, bell, bell) for name in LAYERS],
        ["train -c large.yaml"],
        {f"{name}.weight": {ratio / 10: ratio / 13 for ratio in range(1, 10)} for name in LAYERS},
    )
    return Page([run], ["command"])


def test_the_page_of_a_large_network_stays_below_5_megabytes(tmp_path, monkeypatch):
    monkeypatch.setattr(Drawing, "write_png", lambda drawing, file: None)
    write(tmp_path / "page.html", large())
    size = (tmp_path / "page.html").stat().st_size
    assert 100_000 < size < 5_000_000
    outline((tmp_path / "page.html").read_text(encoding="utf-8"))


def test_of_many_classes_those_are_shown_that_changed(monkeypatch):
    monkeypatch.setattr("ppcls_compress.report.page.comparison.class_names", lambda found: list(map(str, range(1000))))
    monkeypatch.setattr("ppcls_compress.report.page.comparison.picture", lambda path: None)
    labels = np.arange(4000) % 1000
    given = {"old": labels, "new": np.where(labels < 5, 7, labels)}
    networks = [Run(name, Path(name), [], {"version": 1, "steps": []}) for name in given]
    rows = [Row(name, "dense", "paddle", "Paddle", 1, 1, 2.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0) for name in given]
    found = Measured(networks, Answers(["x"] * 4000, labels, given, 1000), rows)
    section = Section("Classes", comparison._classes(found))
    assert len(section.html()) < 1_000_000
    assert "The 30 of 1000 classes that changed most." in section.html()
    difference = list(section.drawings())[-1]
    assert {shape.kind for shape in difference.shapes if isinstance(shape, Box)} == {"bad"}

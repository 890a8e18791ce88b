import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from ppcls_compress import machine
from ppcls_compress.deploy import artifact, kinds
from ppcls_compress.deploy.artifact import Artifact, Description
from ppcls_compress.deploy.measure import latency
from ppcls_compress.errors import MissingDependencyError
from ppcls_compress.report.benchmark import (
    Entry,
    Row,
    entries,
    fastest,
    measure,
    plot,
    reference_note,
    slower_than_float,
)
from ppcls_compress.report.charts.drawing import Drawing, Text


def entry(name, model="Net"):
    description = Description((3, 8, 8), model_name=model)
    return Entry(name, Artifact(Path(name), description, {"version": 1, "steps": []}, {}))


def row(name, compression, runtime, milliseconds):
    return Row(name, compression, "f", runtime, 2, 1, milliseconds, milliseconds, 1.0, 1.0, 1.0, 1.0, 1.0)


MODELS = [entry("a"), entry("b"), entry("c", "Another")]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row("a", "dense", "X", 5.0), row("b", "int8", "X", 4.0)], []),
        (
            [row("a", "dense", "X", 5.0), row("b", "int8", "X", 6.0)],
            ["b (f) in X is slower than float: 6.00 ms, a in X"],
        ),
        # Its own runtime decides, and only without a float model there any other.
        ([row("a", "dense", "X", 5.0), row("a", "dense", "Y", 7.0), row("b", "int8", "Y", 6.0)], []),
        ([row("a", "dense", "X", 5.0), row("b", "pruned int8", "Y", 6.0)], ["b (f) in Y is slower than float"]),
        ([row("c", "dense", "X", 5.0), row("b", "int8", "X", 6.0)], []),
        ([replace(row("a", "dense", "X", 5.0), batch=8), row("b", "int8", "X", 6.0)], []),
        ([row("a", "dense", "X", 5.0), replace(row("b", "int8", "Y", 6.0), format="paddle-lite")], []),
        ([replace(row("a", "dense", "X", 5.0), format="onnx-rknn"), row("b", "int8", "Y", 6.0)], []),
    ],
)
def test_int8_that_is_slower_than_float_is_told(rows, expected):
    found = slower_than_float(MODELS, rows)
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))


def test_a_companion_counts_as_the_runtime_of_its_format():
    exported = Artifact(Path("a"), Description((3, 8, 8), format="onednn"), {"version": 1, "steps": []}, {})
    assert Entry("a", exported).runtime == entry("a").runtime == "Paddle Inference"


def quantized(name, kind="paddle", bits=8):
    record = {"version": 1, "steps": [{"kind": "quant", "options": {"weight_bits": bits}}]}
    return Entry(name, Artifact(Path(name), Description((3, 8, 8), model_name="Net", format=kind), record, {}))


def timed(monkeypatch, models, milliseconds):
    """The rows of entries that take so long."""
    times = {item.key: latency.Latency(taken, taken, 1.0, 1) for item, taken in zip(models, milliseconds, strict=True)}
    monkeypatch.setattr(latency, "measure", lambda *_, **__: times)
    return measure(models, threads=1, batch=1, rounds=1)


def test_ratios_to_a_quantized_model_are_to_its_same_format(monkeypatch):
    models = [quantized("a"), quantized("a", "onednn"), quantized("b"), quantized("b", "onednn"), entry("c")]
    rows = timed(monkeypatch, models, [20.0, 5.0, 10.0, 4.0, 8.0])
    assert [item.speedup for item in rows] == [1.0, 1.0, 2.0, 1.25, 2.5]
    assert [item.over_fastest for item in rows] == [0.25, 1.0, 0.5, 1.25, 0.625]


def test_files_for_a_runtime_that_is_not_here_are_nobodys_fastest(monkeypatch):
    models = [entry("a"), quantized("a", "paddle-lite"), quantized("b", "onnx-qdq"), quantized("b", "onnx-ort")]
    rows = timed(monkeypatch, models, [20.0, 5.0, 1.0, 10.0])
    assert [item.over_fastest for item in rows] == [1.0, 4.0, 20.0, 2.0]
    assert (fastest(rows, "a"), fastest(rows, "b"), fastest(rows[:3], "b")) == (20.0, 10.0, 1.0)


def test_ratios_to_a_format_that_the_first_model_lacks_are_to_its_fastest_in_the_runtime(monkeypatch):
    models = [entry("a"), quantized("b"), quantized("b", "onednn"), quantized("b", "onnx-ort")]
    rows = timed(monkeypatch, models, [6.0, 12.0, 2.0, 3.0])
    assert [item.speedup for item in rows] == [1.0, 0.5, 3.0, None]


def openvino(name, setting="", *, reduced=False):
    exported = quantized(name, "onnx-openvino").exported
    return Entry(name, replace(exported, description=replace(exported.description, setting=setting)), reduced)


def test_a_file_that_runs_in_bfloat16_or_otherwise_than_usual_is_named_so():
    assert openvino("a").runtime == "OpenVINO"
    assert openvino("a", "bfloat16").runtime == "OpenVINO, bfloat16"
    exported = replace(entry("a").exported, description=replace(entry("a").exported.description, setting="plain"))
    assert Entry("a", exported).runtime == "Paddle Inference, without oneDNN"
    for_ort = replace(exported, description=Description((3, 8, 8), format="onnx-ort"))
    assert Entry("a", for_ort, within="openvino").runtime == "OpenVINO"


def test_ratios_of_a_file_in_bfloat16_are_to_the_same_precision_where_the_first_model_has_it(monkeypatch):
    first = [openvino("a"), openvino("a", reduced=True)]
    rows = timed(monkeypatch, [*first, openvino("b", "bfloat16")], [8.0, 4.0, 2.0])
    assert rows[-1].speedup == 2.0
    rows = timed(monkeypatch, [first[0], openvino("b", "bfloat16")], [8.0, 2.0])
    assert rows[-1].speedup == 4.0


def test_what_runs_in_bfloat16_anyway_is_not_timed_a_second_time(monkeypatch):
    monkeypatch.setattr(machine, "has_bfloat16", lambda: True)
    monkeypatch.setattr(kinds, "require", lambda *_: None)
    for setting, expected in (("", ["OpenVINO", "OpenVINO, own precision"]), ("bfloat16", ["OpenVINO, bfloat16"])):
        monkeypatch.setattr(artifact, "load", lambda folder, setting=setting: openvino("a", setting).exported)
        assert [item.runtime for item in entries({"a": "a"})] == expected


def test_a_quantized_model_whose_weights_stayed_float_is_no_int8():
    exported = quantized("a").exported
    assert Entry("a", exported).compression == "int8"
    kept = replace(exported, description=replace(exported.description, integer_layers=0))
    assert (kept.quantized, Entry("a", kept).compression) == (True, "dense")
    assert quantized("a", bits=4).compression == "int8"
    assert quantized("a", bits=12).compression == "int16"


def test_ratios_to_a_quantized_model_are_told():
    assert reference_note([entry("a"), quantized("b")]) is None
    assert reference_note([quantized("a"), quantized("b")]) is None
    assert reference_note([quantized("b"), entry("a")]).startswith("all ratios are to b, which is quantized")


def test_what_only_an_export_needs_may_be_missing(tmp_path, monkeypatch):
    exported = Artifact(tmp_path, Description((3, 8, 8), format="onnx-ort"), {"version": 1, "steps": []}, {})
    monkeypatch.setattr(artifact, "load", lambda folder: exported)
    find = importlib.util.find_spec
    there = {"onnxruntime": find("numpy"), "paddle2onnx": None, "onnx": None, "onnxscript": None, "openvino": None}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there[name] if name in there else find(name))
    assert [item.exported for item in entries({"a": tmp_path})] == [exported]
    there["onnxruntime"] = None
    with pytest.raises(MissingDependencyError, match="^onnxruntime not installed"):
        entries({"a": tmp_path})


def test_the_chart_has_a_part_for_each_batch_and_a_logarithmic_axis_where_times_span(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Drawing, "write_png", lambda drawing, file: drawn.append(drawing))
    times = [row("a", "dense", "X", 5.0), row("b", "int8", "X", 0.1), replace(row("a", "dense", "X", 9.0), batch=8)]
    plot(times, tmp_path / "chart.png")
    texts = [shape.content for shape in drawn[0].shapes if isinstance(shape, Text)]
    assert [text.partition(", ")[0] for text in texts if text.startswith("batch")] == ["batch 1", "batch 8"]
    assert [text for text in texts if text.startswith("millisec")] == ["milliseconds, logarithmic", "milliseconds"]
    assert {"float", "integers", "median", "up to p90, below which nine of ten stay"} <= set(texts)
    assert {shape.told.split(",")[0]: shape.kind for shape in drawn[0].shapes if getattr(shape, "told", "")} == {
        "a": "s0",
        "b": "s1",
    }

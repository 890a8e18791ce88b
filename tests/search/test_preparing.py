import re
from types import SimpleNamespace

import pytest
from support.project import make_project

from ppcls_compress.config.auto import Auto
from ppcls_compress.config.load import load_config
from ppcls_compress.deploy.measure.layers import Shape, Table, Times, layers_of
from ppcls_compress.engine import assemble, checkpoint
from ppcls_compress.errors import ConfigError, NotKeptError
from ppcls_compress.search import preparing, split
from ppcls_compress.search.space import Candidate
from ppcls_compress.slim.record import empty_record


def test_latencies_of_another_runtime_are_refused(tmp_path):
    file = tmp_path / "profile.json"
    points = {Shape("linear"): {(4, 4): Times(1.0, 1.0, 1.0)}}
    Table({"runtime": "openvino"}, points).save(file)
    auto = Auto(max_drop=1, target={"latency": 0.5}, runtime="onnx-ort")
    workshop = SimpleNamespace(profile=file, config=SimpleNamespace(Slim=SimpleNamespace(auto=auto)))
    with pytest.raises(ConfigError, match=r"--profile: .*profile.json is of openvino, .* means onnxruntime"):
        preparing.begin(workshop)
    Table({"runtime": "onnxruntime", "batch": 8}, points).save(file)
    with pytest.raises(ConfigError, match=r"is of batches of 8, and Slim.auto is about single images"):
        preparing.begin(workshop)
    Table({"runtime": "onnxruntime"}, points).save(file)
    preparing._check_profile(workshop)


@pytest.mark.parametrize("cost", ["params", "flops"])
def test_a_share_below_the_smallest_network_is_refused_before_anything_is_trained(tmp_path, cost):
    prefix = tmp_path / "dense"
    options = [f"Global.pretrained_model={prefix}", f"Slim.auto={{max_drop: 1, target: {{{cost}: 0.001}}}}"]
    config = load_config(make_project(tmp_path), options)
    checkpoint.save_model(prefix, assemble.build_dense(config), empty_record())
    with pytest.raises(NotKeptError, match=rf"target.{cost}: 0.001 is out of reach: .*; nothing was trained") as told:
        preparing._check_prunable(config, 0.00098)
    least = float(re.search(rf"begins at {cost}: ([\d.]+)", str(told.value))[1])
    preparing._check_prunable(config, least)
    preparing._check_prunable(config, 0.5)


def timed(layers, runtime="onnxruntime", *, slow=("stem.conv",)):
    """Times of layers some of which are slower with integers."""
    points = {}
    for layer in layers:
        times = Times(1.0, 9.0 if layer.name in slow else 0.1, 0.01)
        points.setdefault(layer.shape, {})[layer.inputs, layer.outputs] = times
    return Table({"runtime": runtime}, points)


def latency(tmp_path, target="latency", runtime="onnx-ort"):
    options = [f"Slim.auto={{max_drop: 1, target: {{{target}: 0.5}}, runtime: {runtime}}}"]
    return load_config(make_project(tmp_path), options)


def test_layers_that_are_faster_in_float_are_known_from_times_of_each_which_are_measured_once(tmp_path, monkeypatch):
    config, asked = latency(tmp_path), []
    monkeypatch.setattr(preparing, "measure", lambda layers, runtime: asked.append(runtime) or timed(layers, runtime))
    workshop = SimpleNamespace(folder=tmp_path, profile=None)
    assert [preparing._faster_in_float(workshop, config) for _ in range(2)] == [["stem.conv"], ["stem.conv"]]
    assert asked == ["onnxruntime"]
    elsewhere = tmp_path / "profile.json"
    layers = layers_of(assemble.build_dense(config), config.Global.image_shape)
    for slow, found in ((["fc"], ["fc"]), ([], []), ([layer.name for layer in layers], ())):
        timed(layers, slow=slow).save(elsewhere)
        workshop = SimpleNamespace(folder=tmp_path, profile=elsewhere)
        assert preparing._faster_in_float(workshop, config) == found
    assert asked == ["onnxruntime"]


@pytest.mark.parametrize(("target", "runtime"), [("bytes", "onnx-ort"), ("latency", "paddle")])
def test_where_latency_does_not_count_or_layers_are_not_timed_none_is(tmp_path, target, runtime):
    assert preparing._faster_in_float(None, latency(tmp_path, target, runtime)) == ()


def test_layers_that_quantization_hurts_most_are_spared(tmp_path):
    prefix = tmp_path / "dense"
    options = [f"Global.pretrained_model={prefix}", "Slim.auto={max_drop: 1, minimize: bytes}"]
    config = load_config(make_project(tmp_path), options)
    checkpoint.save_model(prefix, assemble.build_dense(config), empty_record())
    seen, kept = split.halves(config)
    ready = preparing.Ready(SimpleNamespace(folder=tmp_path), seen, kept, None, None)
    sections = [ready.slim_of(Candidate(spared=count)) for count in (0, 1, 3)]
    skipped = [section["quant"].get("skip", []) for section in sections]
    assert [len(set(names)) for names in skipped] == [0, 1, 3]
    assert skipped[2][:1] == skipped[1]
    assert all(section["distill"] == {"teacher": str(prefix)} for section in sections)

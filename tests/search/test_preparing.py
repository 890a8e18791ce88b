from types import SimpleNamespace

import pytest
from support.project import make_project

from ppcls_compress.config.auto import Auto
from ppcls_compress.config.load import load_config
from ppcls_compress.deploy.measure.layers import Shape, Table, Times
from ppcls_compress.engine import assemble, checkpoint
from ppcls_compress.errors import ConfigError
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

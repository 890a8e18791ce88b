"""`profile` and `export_model --tune` from the command line to the files."""

import json

import numpy as np
import pytest
import yaml
from support.commands import call, errors
from support.here import modules_run_here
from support.onnx_extras import needs_onnx

from ppcls_compress import machine
from ppcls_compress.deploy import artifact, profiling, sessions, tuning, verify
from ppcls_compress.deploy.measure import latency
from ppcls_compress.deploy.measure.layers import Table, Times
from ppcls_compress.deploy.predictor import Predictor
from ppcls_compress.errors import UserError

pytestmark = [needs_onnx, pytest.mark.slow]


def timed(medians):
    """A clock that tells of each file what is in `medians`."""

    def measure(files, shape, **_):
        return {name: latency.Latency(medians[name], medians[name], 1.0, 1) for name in files}

    return measure


@pytest.fixture(autouse=True)
def here(monkeypatch):
    modules_run_here(monkeypatch)


def notes(folder):
    return yaml.safe_load((folder / "inference.yml").read_text(encoding="utf-8"))["Artifact"]["notes"]


def test_a_profile_of_this_machine_places_layers_for_it_elsewhere(
    trained_config, trained, tmp_path, capsys, monkeypatch
):
    files = {"1.0-False": 20.0, "1.0-True": 10.0, "0.5-False": 8.0, "0.5-True": 4.0}
    monkeypatch.setattr(latency, "measure", timed(files))
    profile = tmp_path / "profile.json"
    assert call("profile", trained_config, arguments=["--out", str(profile), "--batch", "2"]) == 0
    assert "float: the dense file takes 20.000 ms" in capsys.readouterr().err
    table = Table.load(profile)
    assert set(table.whole) == {"float", "integer"}
    assert (table.about["runtime"], table.about["batch"]) == ("onnxruntime", 2)
    content = json.loads(profile.read_text())
    for row in content["layers"]:  # a machine on which integers gain nothing
        row["ms"]["integer"] = 3 * row["ms"]["float"]
    content["whole"] = {"float": {}, "integer": {}}
    profile.write_text(json.dumps(content))
    arguments = ["--format", "onnx-ort", "--profile", str(profile), "--tune"]
    assert call("export_model", trained_config, *trained, arguments=[*arguments, "2"]) == 0
    assert any("batch 2: float; by its profile:" in note for note in notes(tmp_path / "inference" / "onnx-ort"))
    assert call("export_model", trained_config, *trained, arguments=arguments) == 2
    assert "profile.json is of batches of 2, and --tune asks for 1" in errors(capsys)[0]


def test_a_profile_that_cannot_be_written_is_told_before_anything_is_timed(
    trained_config, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(profiling, "profile", None)
    assert call("profile", trained_config, arguments=["--out", str(tmp_path)]) == 2
    assert errors(capsys) == [f"error: --out: {tmp_path} is a folder; name a file"]
    (tmp_path / "file").touch()
    assert call("profile", trained_config, arguments=["--out", str(tmp_path / "file" / "profile.json")]) == 2
    assert "file: " in errors(capsys)[0]


def slow_stem(layers, runtime, *, batch, precision="f32"):
    """Times of a machine on which the first layer is slower with integers, in bfloat16 the last."""
    rows, slow = {}, {"f32": "stem.conv", "bf16": "fc"}[precision]
    for layer in layers:
        times = Times(1.0, 9.0 if layer.name == slow else 0.1, 0.01)
        rows.setdefault(layer.shape, {})[layer.inputs, layer.outputs] = times
    return Table({"runtime": runtime, "machine": "m"}, rows)


def test_a_format_that_cannot_be_tuned_keeps_no_later_one_from_being_written(
    trained_config, trained, tmp_path, capsys, monkeypatch
):
    pytest.importorskip("openvino")
    tune, asked = tuning.tune, []
    monkeypatch.setattr(latency, "measure", timed({"integers": 1.0, "float": 2.0, "mixed": 0.5}))
    monkeypatch.setattr(tuning, "measure", slow_stem)

    def failing(config, variant, kind, *rest, batch, bfloat16):
        asked.append((kind.name, batch, bfloat16))
        if kind.name == "onnx-ort":
            raise UserError("onnx-ort: it does not run here")
        return tune(config, variant, kind, *rest, batch=batch)

    monkeypatch.setattr(tuning, "tune", failing)
    arguments = ["--format", "onnx-ort", "onnx-openvino", "--tune", "2"]
    assert call("export_model", trained_config, *trained, arguments=arguments) == 2
    assert errors(capsys) == ["error: onnx-ort: it does not run here"]
    assert asked == [("onnx-ort", 2, False), ("onnx-openvino", 2, False)]
    assert not (tmp_path / "inference" / "onnx-ort").exists()
    folder = tmp_path / "inference" / "onnx-openvino"
    assert any("batch 2: mixed; timed as files:" in note for note in notes(folder))
    assert "in float, for they are faster so: stem.conv" in notes(folder)
    step = next(each for each in json.loads((folder / "slim.json").read_text())["steps"] if each["kind"] == "quant")
    assert [each["layer"] for each in step["skipped"]] == ["stem.conv"]


@pytest.mark.parametrize("coarse", [False, True])
def test_what_is_not_in_integers_is_in_bfloat16_where_the_user_allows_it_and_the_comparison_passes(
    trained_config, trained, tmp_path, capsys, monkeypatch, coarse
):
    pytest.importorskip("openvino")
    medians = {"integers": 1.0, "float": 2.0, "mixed": 0.9, "float in bfloat16": 1.0}
    monkeypatch.setattr(latency, "measure", timed({**medians, "integers in bfloat16": 0.8, "mixed in bfloat16": 0.7}))
    monkeypatch.setattr(tuning, "measure", slow_stem)
    monkeypatch.setattr(machine, "has_bfloat16", lambda: True)
    judge, settings = verify._judged, []

    def judged(reference, exported, *rest):
        settings.append(exported.description.setting)
        report, problem = judge(reference, exported, *rest)
        return report, "too coarse" if coarse and settings[-1] else problem

    monkeypatch.setattr(verify, "_judged", judged)
    arguments = ["--format", "onnx-openvino", "--tune", "--bfloat16"]
    assert call("export_model", trained_config, *trained, arguments=arguments) == 0
    folder = tmp_path / "inference" / "onnx-openvino"
    about = yaml.safe_load((folder / "inference.yml").read_text(encoding="utf-8"))["Artifact"]
    step = next(each for each in json.loads((folder / "slim.json").read_text())["steps"] if each["kind"] == "quant")
    told = " ".join(notes(folder))
    assert settings == (["bfloat16", ""] if coarse else ["bfloat16"])
    if coarse:
        assert "onnx-openvino: bfloat16 is too coarse for it, and float32 stays" in capsys.readouterr().err
    assert (about["setting"], [each["layer"] for each in step["skipped"]]) == (
        ("", ["stem.conv"]) if coarse else ("bfloat16", ["fc"])
    )
    assert f"batch 1: {'mixed' if coarse else 'mixed in bfloat16'}; timed as files:" in told
    assert ("INFERENCE_PRECISION_HINT=bf16" in told) is not coarse
    assert sessions.title(artifact.load(folder)) == ("OpenVINO" if coarse else "OpenVINO, bfloat16")
    assert Predictor(folder).logits(np.zeros([2, 3, 8, 8], np.float32)).shape[0] == 2


@pytest.mark.parametrize(("batch", "found"), [("0", "found 0"), ("-3", "found -3")])
def test_a_batch_has_an_image_at_least(trained_config, trained, capsys, batch, found):
    arguments = ["--format", "onnx-ort", f"--tune={batch}"]
    assert call("export_model", trained_config, *trained, arguments=arguments) == 2
    assert f"--tune: expected how many images a batch has, from 1, {found}" in errors(capsys)[0]

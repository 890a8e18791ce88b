"""Several formats in one directory: what one export leaves of another, and what stops whom."""

import tempfile
from dataclasses import replace

import numpy as np
import pytest
from support.commands import QUANT, call, errors

from ppcls_compress.config.load import load_config
from ppcls_compress.deploy import artifact, configured, formats, kinds, verify
from ppcls_compress.deploy.predictor import Predictor
from ppcls_compress.engine import assemble, samples
from ppcls_compress.errors import NoFormError, UserError
from ppcls_compress.report import benchmark


@pytest.mark.parametrize("agreement", [1.0, 0.5])
def test_the_bound_of_a_float_network_can_be_set(trained_config, trained, tmp_path, monkeypatch, capsys, agreement):
    run = verify.run_fresh

    def half_wrong(directory, images, runtime=None):
        outputs, kernels = run(directory, images, runtime)
        outputs[::2] = outputs[::2, ::-1]
        return outputs, kernels

    monkeypatch.setattr(verify, "run_fresh", half_wrong)
    bound = f"Global.export_agreement={agreement}"
    assert call("export_model", trained_config, "Slim=null", *trained[1:], bound) == (0 if agreement < 1 else 2)
    assert (tmp_path / "inference").exists() == (agreement < 1)


def test_an_unwritable_folder_is_told_before_anything_is_built(trained_config, trained, monkeypatch, capsys):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(assemble, "build_model", lambda *_: pytest.fail("was built"))
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    assert call("export_model", trained_config, *trained) == 2
    (line,) = errors(capsys)
    assert line.endswith("/inference: cannot be written: Permission denied")


@pytest.fixture
def fake_writers(monkeypatch):
    """Every format is written like `paddle`; those named in `broken` fail, and `networks` has what was compared."""
    broken = {}
    written = formats.FORMATS["paddle"]

    def writer(name):
        def write(job, folder):
            if name in broken:
                raise broken[name]
            return written.write(job, folder)

        return write

    fakes = {
        name: replace(kind, write=writer(name), files=written.files, runtimes=written.runtimes)
        for name, kind in formats.FORMATS.items()
    }
    monkeypatch.setattr(formats, "FORMATS", fakes)
    monkeypatch.setattr(kinds.Format, "require", lambda kind: None)
    monkeypatch.setattr(
        verify, "run_fresh", lambda folder, images, runtime=None: (Predictor(folder).logits(images), {})
    )
    return broken


def test_a_format_that_fails_does_not_stop_the_others(trained_config, trained, tmp_path, capsys, fake_writers):
    fake_writers["onnx-ort"] = UserError("onnx-ort: no such operator")
    fake_writers["onednn"] = verify.ParityError("onednn: computes something else")
    assert call("export_model", trained_config, *trained, arguments=["--format", "all"]) == 2
    assert errors(capsys) == ["error: onednn: computes something else", "error: onnx-ort: no such operator"]
    there = {
        name for name, place in formats.places(tmp_path / "inference").items() if (place / "inference.yml").exists()
    }
    assert there == {"paddle", "onnx-openvino"}


def test_what_is_meant_for_elsewhere_is_written_where_it_is_named(trained_config, trained, tmp_path, fake_writers):
    assert call("export_model", trained_config, *trained, arguments=["--format", "all", "paddle-lite"]) == 0
    there = {name for name, place in formats.places(tmp_path / "inference").items() if place.is_dir()}
    assert there == {"paddle", "onednn", "onnx-ort", "onnx-openvino", "paddle-lite"}


@pytest.mark.parametrize("reason", ["no form", "float"])
def test_a_companion_that_a_network_has_no_more_does_not_stay(
    trained_config, trained, tmp_path, capsys, fake_writers, reason
):
    assert call("export_model", trained_config, *trained, arguments=["--format", "paddle", "onnx-openvino"]) == 0
    assert (tmp_path / "inference" / "onednn" / "inference.yml").is_file()
    other = ["Slim=null" if reason == "float" else QUANT, *trained[1:]]
    if reason == "no form":
        fake_writers["onednn"] = NoFormError("8-bit integers only")
    capsys.readouterr()
    assert call("export_model", trained_config, *other) == 0
    assert not (tmp_path / "inference" / "onednn").exists()
    told = "".join(capsys.readouterr())
    assert "onednn: removed from" in told
    assert (tmp_path / "inference" / "onnx-openvino" / "inference.yml").is_file()
    assert ("paddle and onnx-openvino are of different networks" in told) == (reason == "float")


@pytest.mark.parametrize(
    "error", [UserError("verify: crashed with SIGSEGV"), verify.ParityError("onednn: computes something else")]
)
def test_a_companion_that_fails_is_a_failure_and_leaves_the_old_one(
    trained_config, trained, tmp_path, capsys, fake_writers, error
):
    assert call("export_model", trained_config, *trained) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "inference" / "onednn").iterdir()}
    (tmp_path / "inference" / "inference.yml").unlink()
    fake_writers["onednn"] = error
    assert call("export_model", trained_config, *trained, arguments=["--overwrite"]) == 2
    assert errors(capsys) == [f"error: {error}"]
    assert {path: path.read_bytes() for path in (tmp_path / "inference" / "onednn").iterdir()} == before
    assert (tmp_path / "inference" / "inference.yml").is_file()


def test_what_fails_alike_in_every_format_is_told_once(trained_config, trained, capsys, fake_writers):
    fake_writers.update(paddle=UserError("fc: not calibrated"), onednn=UserError("fc: not calibrated"))
    assert call("export_model", trained_config, *trained) == 2
    assert errors(capsys) == ["error: fc: not calibrated"]


def test_calibration_images_are_read_only_where_needed(trained_config, monkeypatch):
    read = []
    images = samples.Samples(np.zeros((2, 3, 8, 8), np.float32), None, "images")
    monkeypatch.setattr(samples, "from_split", lambda config, modes, count: read.append(modes[0]) or images)
    config = load_config(trained_config, ())

    def needing(*names, **options):
        read.clear()
        record = {"version": 1, "steps": [{"kind": "quant", "options": options}]}
        found = configured.plan(config, [formats.get(name) for name in names], record, speed_only=False)
        assert read == ["Eval", *(["Train"] if found.calibrated else [])]
        assert bool(found.calibration) == bool(found.calibrated)
        return list(found.calibrated)

    assert needing("paddle", "onnx-openvino") == []
    assert needing("onnx-openvino", activation_quantize_type="abs_max") == ["onnx-openvino"]
    assert needing("onnx-ort", "onnx-openvino") == ["onnx-ort"]
    assert needing("onnx-ort", "onnx-openvino", placement="deploy") == []
    assert needing("onnx-ort", "onnx-qdq", placement="deploy") == ["onnx-qdq"]


def test_a_benchmark_tells_formats_of_different_networks(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(benchmark.logger, "warning", lambda text, *values: told.append(text % values))
    for name in ("paddle", "onednn"):
        place = formats.places(tmp_path)[name]
        place.mkdir(exist_ok=True)
        artifact.write_description(place, artifact.Description((3, 8, 8), format=name, network=name))
    assert len(benchmark.entries({"mixed": tmp_path})) == 2
    assert told == [f"{tmp_path}: paddle and onednn are of different networks; --format all exports all formats of one"]

"""An artifact in a further runtime of its format: compared, recorded, and refused where it did not pass."""

import importlib.util

import numpy as np
import paddle
import pytest
import yaml
from support.exporting import export
from support.onnx_extras import needs_onnx
from support.processor import needs_dot_products

from ppcls_compress import machine
from ppcls_compress.deploy import artifact, extras, formats, verify
from ppcls_compress.deploy.measure import latency
from ppcls_compress.deploy.onnx.runtime import OpenVinoSession
from ppcls_compress.deploy.predictor import Predictor
from ppcls_compress.errors import MissingDependencyError, UserError
from ppcls_compress.report import benchmark
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

SHAPE = (3, 8, 8)


def images(count=32):
    return np.random.default_rng(0).standard_normal((count, *SHAPE), np.float32)


def network():
    paddle.seed(0)
    conv = [paddle.nn.Conv2D(3, 8, 3), paddle.nn.ReLU(), paddle.nn.Flatten(), paddle.nn.Linear(288, 3)]
    model, step = quant.prepare(paddle.nn.Sequential(*conv), QuantOptions(name="ptq"), inputs=[[1, *SHAPE]])
    quant.calibrate(model, [paddle.to_tensor(images())])
    return model, {"version": 1, "steps": [step]}


def write(folder, *, compared=True):
    model, record = network()
    about = {"record": record, "calibration": [images()], "format": "onnx-ort"}
    return export(model, folder, image_shape=SHAPE, images=clear_images(model) if compared else None, **about)


def clear_images(model):
    """Those of some images about whose class a network is surest, for ties may fall to either side."""
    candidates = images(64)
    ordered = np.sort(model(paddle.to_tensor(candidates)).numpy(), axis=1)
    return candidates[np.argsort(ordered[:, -2] - ordered[:, -1])[:32]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An `onnx-ort` artifact that was compared in both runtimes, and what the export found."""
    return write(tmp_path_factory.mktemp("runtimes") / "ort")


def described(folder):
    return yaml.safe_load((folder / artifact.DESCRIPTION).read_text())["Artifact"]


@needs_onnx
def test_the_file_for_onnx_runtime_is_compared_in_openvino_too(exported):
    found = exported.elsewhere["openvino"]
    assert found.problem is None
    assert found.report.bound == exported.parity.bound == 0.98
    assert found.report.mean_bound == exported.parity.mean_bound == 0.05
    assert all(whole == count for whole, count in found.report.integer_kernels.values())
    written = described(exported.artifact.directory)["parity"]
    assert written["elsewhere"]["openvino"]["agreement"] >= 0.98
    assert "elsewhere" not in written["elsewhere"]["openvino"]


@needs_onnx
@needs_dot_products
def test_the_predictor_runs_it_there(exported, monkeypatch):
    folder, used, run = exported.artifact.directory, [], OpenVinoSession.run
    monkeypatch.setattr(OpenVinoSession, "run", lambda self, values: used.append(1) or run(self, values))
    own = Predictor(folder, threads=1).logits(images())
    assert not used
    other = Predictor(folder, threads=1, runtime="openvino").logits(images())
    assert used
    assert (own.argmax(1) == other.argmax(1)).mean() >= 0.98


def test_a_runtime_that_the_format_has_not_is_refused(tmp_path):
    export(paddle.nn.Conv2D(3, 2, 8), tmp_path, image_shape=SHAPE)
    with pytest.raises(UserError, match=r"^the format paddle does not run in 'openvino'; it runs in paddle$"):
        Predictor(tmp_path, runtime="openvino")


@needs_onnx
def test_an_artifact_that_fails_there_is_exported_and_refused_there(tmp_path, monkeypatch):
    run = verify.run_fresh

    def wrong_in_openvino(directory, images, runtime=None):
        outputs, kernels = run(directory, images)
        return (outputs[:, ::-1] if runtime else outputs), kernels

    monkeypatch.setattr(verify, "run_fresh", wrong_in_openvino)
    result = write(tmp_path / "out")
    assert "is below the bound 98.00%" in result.elsewhere["openvino"].problem
    Predictor(tmp_path / "out")
    with pytest.raises(UserError, match=r"out: failed the comparison with its model in OpenVINO: the same class for"):
        Predictor(tmp_path / "out", runtime="openvino")
    entries = benchmark.entries({"a": tmp_path / "out"})
    assert [entry.runtime for entry in entries] == ["ONNX Runtime"]


@needs_onnx
def test_what_does_not_run_there_is_told(tmp_path, monkeypatch):
    run = verify.run_fresh

    def crash(directory, images, runtime=None):
        if runtime:
            raise UserError("crashed with SIGILL")
        return run(directory, images)

    monkeypatch.setattr(verify, "run_fresh", crash)
    result = write(tmp_path / "out")
    assert result.elsewhere["openvino"] == verify.Elsewhere(None, "it does not run there: crashed with SIGILL")
    assert list(described(tmp_path / "out")["parity"]["elsewhere"]["openvino"]) == ["problem"]


@needs_onnx
def test_without_openvino_the_export_goes_on_and_the_runtime_is_refused(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(extras.importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name))
        assert write(tmp_path / "out").elsewhere == {}
        write(tmp_path / "bare", compared=False)
        with pytest.raises(MissingDependencyError, match=r"^openvino not installed; pip install .*\[openvino\]"):
            Predictor(tmp_path / "bare", runtime="openvino")
        assert len(benchmark.entries({"a": tmp_path / "bare"})) == 1
    with pytest.raises(UserError, match=r"out: was not compared with its model in OpenVINO; export it again"):
        Predictor(tmp_path / "out", runtime="openvino")


@needs_onnx
def test_what_was_never_compared_runs_in_every_runtime_of_its_format(tmp_path):
    write(tmp_path / "out", compared=False)
    assert Predictor(tmp_path / "out", threads=1, runtime="openvino").run(images(1)).shape == (1, 3)


@needs_onnx
def test_benchmark_times_it_in_both(exported):
    entries = benchmark.entries({"a": exported.artifact.directory})
    own = ["OpenVINO, own precision"] if machine.has_bfloat16() else []
    assert [entry.runtime for entry in entries] == ["ONNX Runtime", "OpenVINO", *own]
    assert len({entry.key for entry in entries}) == len(entries)
    rows = benchmark.measure(entries, threads=1, batch=1, rounds=1)
    assert {row.format for row in rows} == {"onnx-ort"}
    assert {row.speedup for row in rows} == {1.0}


@needs_onnx
def test_the_worker_loads_the_runtime_that_it_is_told(exported, monkeypatch):
    candidate = latency.Candidate(exported.artifact.directory, runtime="nowhere")
    with pytest.raises(UserError, match="does not run in 'nowhere'; it runs in onnxruntime and openvino"):
        latency.measure({"a": candidate}, [1, *SHAPE], rounds=1)


def test_own_runtimes_come_first():
    own = {name: kind.runtime().name for name, kind in formats.FORMATS.items()}
    onnx = {"onnx-ort": "onnxruntime", "onnx-openvino": "openvino"}
    elsewhere = {"onnx-qdq": "onnxruntime", "onnx-rknn": "onnxruntime", "paddle-lite": "paddle"}
    assert own == {"paddle": "paddle", "onednn": "paddle", **onnx, **elsewhere}

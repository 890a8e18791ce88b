import subprocess
from pathlib import Path

import numpy as np
import paddle
import pytest
from support.exporting import export
from support.processes import PATIENCE, happens, runs

from ppcls_compress.deploy import artifact, compare, fresh, verify
from ppcls_compress.deploy.formats import FORMATS
from ppcls_compress.deploy.measure.latency import measure
from ppcls_compress.errors import UserError
from ppcls_compress.postprocess.base import log_probabilities
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

SHAPE = (3, 4, 4)


def linear(seed):
    paddle.seed(seed)
    return paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(48, 5))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    export(linear(0), folder / "one", image_shape=SHAPE, output="logits")
    export(linear(1), folder / "two", image_shape=SHAPE, output="logits")
    return folder


def images(count=8):
    return np.random.default_rng(3).standard_normal((count, *SHAPE), np.float32)


def answers(logits, **about):
    return compare.Reference(np.zeros((len(logits), 1), np.float32), np.asarray(logits, np.float32), **about)


def test_measures():
    expected = answers([[4.0, 0, 0], [0, 2, 1.9], [0, 0, 1]], labels=np.array([0, 1, 0]), source="3 images")
    found = np.array([[4.0, 0, 0], [0, 2, 2.1], [1, 0, 0]], np.float32) + 7
    report = compare.compare(expected, found, compare.Tolerance(0.9, 0.05))
    assert report.agreement == pytest.approx(1 / 3)
    assert report.near_agreement == pytest.approx(2 / 3)
    assert (report.accuracy_model, report.accuracy_artifact) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert report.largest_logit == pytest.approx(8 / 3)
    assert report.mean_difference == pytest.approx((4 * 0.2 / 3 + 2) / 9)
    assert report.max_difference == pytest.approx(1)
    assert str(report) == (
        "same class for 33.33% of 3 images, top-1 66.67% trained and 66.67% exported, "
        "logits differ by 0.25 on average and 1 at most, of up to 2.67"
    )


def test_probabilities_compare_like_logits():
    logits = np.random.default_rng(0).standard_normal((6, 5)) * 10
    report = compare.compare(answers(logits), log_probabilities(logits), compare.FLOAT)
    assert report.max_difference < 1e-5


def test_a_probability_of_zero_is_no_infinite_difference():
    for least in (-87.0, -64.0):  # of float32, and of Paddle's own softmax
        report = compare.compare(answers([[0.0, -200.0]]), np.array([[0.0, least]], np.float32), compare.FLOAT)
        assert report.max_difference == 0


def test_other_number_of_classes():
    with pytest.raises(UserError, match=r"outputs of shape \[2, 3\] exported, \[2, 4\] trained"):
        compare.compare(answers(np.zeros((2, 4))), np.zeros((2, 3)), compare.FLOAT)


def test_another_model_is_told_apart(exported):
    with pytest.raises(UserError, match=r"does not compute what the trained one does: .* below the bound 100\.00%"):
        verify.parity(verify.reference(linear(1), images()), exported / "one")


def changed(monkeypatch, change):
    outputs = change(verify.reference(linear(0), images()).logits.copy())
    monkeypatch.setattr(verify, "run_fresh", lambda directory, images, runtime=None: (outputs, {}))


def test_every_measure_is_judged(exported, monkeypatch):
    trained = verify.reference(linear(0), images())
    scale = np.abs(trained.logits).max()

    def one_logit_off(outputs):
        outputs[0, outputs[0].argmin()] -= 0.01 * scale
        return outputs

    changed(monkeypatch, one_logit_off)
    with pytest.raises(UserError, match=r"largest difference of logits is above 1\.0e-03"):
        verify.parity(trained, exported / "one", tolerance=compare.Tolerance(0.98, 0.02, 1e-3))
    report = verify.parity(trained, exported / "one", tolerance=compare.Tolerance(0.98, 0.02))
    assert 0.005 < report.max_difference / report.largest_logit < 0.02
    changed(monkeypatch, lambda outputs: 1.1 * outputs)
    with pytest.raises(UserError, match=r"mean difference of logits is above 2\.0e-02"):
        verify.parity(trained, exported / "one", tolerance=compare.Tolerance(0.98, 0.02))
    changed(monkeypatch, lambda outputs: outputs[:, ::-1])
    with pytest.raises(UserError, match=r"paddle: .* the same class for .* is below the bound 98\.00%; found: same"):
        verify.parity(trained, exported / "one", tolerance=compare.Tolerance(0.98, 1.0))


@pytest.mark.parametrize("synthetic", [True, False])
def test_near_ties_are_the_same_class_on_noise_only(quantized, monkeypatch, synthetic):
    trained = answers([[5.0, 4.99, 0, 0, 0]] * 4, synthetic=synthetic)
    swapped = np.array([[4.99, 5.0, 0, 0, 0]] * 4, np.float32)
    monkeypatch.setattr(verify, "run_fresh", lambda directory, images, runtime=None: (swapped, {}))
    if synthetic:
        assert verify.parity(trained, quantized).near_agreement == 1
    else:
        with pytest.raises(UserError, match=r"the same class for 0\.00% of images is below the bound 98\.00%"):
            verify.parity(trained, quantized)


@pytest.mark.parametrize(("format_name", "told"), [("onnx-openvino", True), ("onnx-ort", False)])
def test_a_network_trained_for_another_format_is_told_of_it(exported, monkeypatch, format_name, told):
    step = {"kind": "quant", "options": {"placement": "deploy"}}
    description = artifact.Description(SHAPE, "logits", format=format_name)
    trained_so = artifact.Artifact(exported / "one", description, {"version": 1, "steps": [step]}, {})
    monkeypatch.setattr(artifact, "load", lambda directory: trained_so)
    changed(monkeypatch, lambda outputs: outputs[:, ::-1])
    with pytest.raises(UserError, match="does not compute") as error:
        verify.parity(verify.reference(linear(0), images()), exported / "one")
    expected = "; a network trained with placement: deploy is meant for onnx-ort, which runs in OpenVINO too"
    assert (expected in str(error.value)) == told


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """An artifact that says that it is quantized."""
    step = {
        "kind": "quant",
        "version": 1,
        "options": {"onnx_format": True},
        "quantized": ["1"],
        "folded": [],
        "custom": [],
    }
    model, _ = quant.prepare(linear(0), QuantOptions(name="pact"))
    quant.calibrate(model, [paddle.to_tensor(images())])
    folder = tmp_path_factory.mktemp("quantized")
    export(model, folder, image_shape=SHAPE, record={"version": 1, "steps": [step]})
    return folder


def test_defaults_by_format():
    assert verify.default_tolerance("onnx-ort", quantized=False) == compare.FLOAT
    assert verify.default_tolerance("onnx-ort", quantized=False, agreement=0.9) == compare.Tolerance(
        0.9, pytest.approx(0.1), None
    )
    assert verify.default_tolerance("onnx-ort", quantized=False, agreement=1.0) == compare.FLOAT
    bounds = {name: verify.default_tolerance(name, quantized=True).agreement for name in FORMATS}
    assert {"paddle": 0.98, "onnx-ort": 0.98, "onnx-openvino": 0.995}.items() <= bounds.items()
    loosened = verify.default_tolerance("onnx-openvino", quantized=True, agreement=0.9)
    assert loosened == compare.Tolerance(0.9, pytest.approx(0.1))


def test_a_loosened_bound_is_told_whole(exported):
    def report(tolerance):
        return verify.parity(verify.reference(linear(0), images()), exported / "one", tolerance=tolerance)

    usual, loose, none = report(None), report(compare.Tolerance(1.0, 0.1)), report(compare.ANY)
    assert [found.loosened for found in (usual, loose, none)] == [False, True, True]
    assert (loose.plain()["mean_bound"], loose.plain()["default_mean_bound"]) == (0.1, 1e-4)
    assert "mean_bound" not in none.plain()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_output_that_is_not_finite(exported, monkeypatch, value):
    model = linear(0)
    with pytest.raises(UserError, match="images: image 1 holds a value that is not finite"):
        verify.reference(model, np.full((1, *SHAPE), value, np.float32))
    broken = linear(0)
    weight = next(iter(broken.parameters()))
    weight.set_value(np.full(weight.shape, value, np.float32))
    with pytest.raises(UserError, match="not finite on images; first layer with such values: .*the weights are broken"):
        verify.reference(broken, images())
    trained = verify.reference(model, images())
    changed(monkeypatch, lambda outputs: np.full_like(outputs, value))
    with np.errstate(invalid="ignore"), pytest.raises(UserError, match="its output is not finite"):
        verify.parity(trained, exported / "one", tolerance=compare.ANY)


@pytest.mark.usefixtures("started_processes")
def test_error_in_the_fresh_process_is_told(exported, tmp_path):
    with pytest.raises(UserError, match=r"deploy\.verify: failed: .*nowhere: no such folder"):
        verify.run_fresh(tmp_path / "nowhere", images())


def test_crash_and_hang_are_told(tmp_path, monkeypatch):
    (tmp_path / "crashing.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGABRT)")
    (tmp_path / "hanging.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UserError, match="crashing: crashed with SIGABRT: it wrote nothing"):
        fresh.run_module("crashing")
    with pytest.raises(UserError, match="hanging: stopped, because it took longer than"):
        fresh.run_module("hanging", timeout=0.5)


def test_what_interrupts_a_process_that_has_ended_is_told_as_it_is(tmp_path, monkeypatch):
    def interrupted(process, timeout, unwanted):
        process.communicate()
        raise KeyboardInterrupt

    (tmp_path / "brief.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(fresh, "_ended", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fresh.run_module("brief")


def test_a_process_that_hangs_ends_with_what_it_started(tmp_path, monkeypatch):
    (tmp_path / "hanging.py").write_text(
        "import pathlib, subprocess, sys, time\n"
        f"started = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep({2 * PATIENCE})'])\n"
        "pathlib.Path(sys.argv[1]).write_text(str(started.pid))\n"
        f"time.sleep({2 * PATIENCE})\n"
    )
    told, communicate = tmp_path / "pid", subprocess.Popen.communicate

    def waited(process, timeout):
        assert happens(lambda: told.exists() and told.read_text())
        return communicate(process, timeout=timeout)

    monkeypatch.setattr(subprocess.Popen, "communicate", waited)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UserError, match="hanging: stopped, because it took longer than 0 seconds"):
        fresh.run_module("hanging", told, timeout=0.1)
    started = Path("/proc", told.read_text(), "stat")
    assert happens(lambda: not runs(started))  # a signal is delivered when the process next gets a processor


@pytest.mark.parametrize(
    ("code", "stderr", "stdout", "expected"),
    [
        (1, "Traceback\nppcls_compress.errors.ConfigError: a key\n", "", "failed: a key"),
        (1, "__main__.ParityError: too far", "", "failed: too far"),
        (1, "ValueError: b", "", "failed: ValueError: b"),
        (1, "E: no memory\n  [Hint: empty.]\n  [operator < pd_kernel > error]\n", "", "failed: E: no memory"),
        (255, "", "x [ERROR] one\n\x1b[0;31m9:00 [ERROR] two\n.\x1b[0m\n", "failed: two"),
        (1, "\n", "first\nlast\n", "failed: last"),
        (-6, "", "", "crashed with SIGABRT: it wrote nothing"),
        (-40, "", "", "crashed with signal 40: it wrote nothing"),
    ],
)
def test_the_line_that_tells_why_a_process_failed(code, stderr, stdout, expected):
    assert fresh.failure(code, stderr, stdout) == expected


def test_latency_side_by_side(exported):
    found = measure({"a": exported / "one", "b": exported / "two"}, [2, *SHAPE], rounds=3)
    assert list(found) == ["a", "b"]
    assert all(0 < latency.median_ms <= latency.p90_ms for latency in found.values())


def test_latency_of_nothing(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        measure({"a": tmp_path / "nowhere"}, [1, *SHAPE], rounds=1)


def test_labels_are_compared_one_by_one():
    trained = answers([[2.0, -1.0], [0.01, -3.0]], kind="labels", labels=np.array([[1, 1], [0, -1]], np.float32))
    found = np.array([[2.1, -1.0], [-0.01, -3.0]], np.float32)
    report = compare.compare(trained, found, compare.Tolerance(1.0, 0.01))
    assert (report.agreement, report.near_agreement) == (0.75, 1.0)
    assert (report.accuracy_model, report.accuracy_artifact) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert report.mean_difference == pytest.approx((0.1 + 0.02) / 4, abs=1e-6)
    assert report.largest_logit == pytest.approx(3.0)
    assert str(report).startswith("same label for 75.00% of all labels of images, labels right 33.33% trained")
    strict = compare.problem(report, compare.Tolerance(0.98, 0.1), strict=True)
    assert strict == "the same label for 75.00% of all labels of images is below the bound 98.00%"
    assert compare.problem(report, compare.Tolerance(0.98, 0.1), strict=False) is None


def test_labels_that_are_certain_are_compared_as_exactly_as_a_sigmoid_tells():
    logits = np.linspace(-30, 30, 1001, dtype=np.float32)[:, None]
    scores = 1 / (1 + np.exp(-logits))
    given = np.log(np.maximum(scores, 1e-38)) - np.log(np.maximum(1 - scores, 1e-38))
    report = compare.compare(answers(logits, kind="labels"), given, compare.FLOAT)
    assert report.largest_logit == 10
    assert compare.problem(report, compare.FLOAT, strict=True) is None
    moved = compare.compare(answers(logits, kind="labels"), given + 0.02, compare.FLOAT)
    assert "difference of logits is above" in compare.problem(moved, compare.FLOAT, strict=False)


def test_of_labels_with_a_camera_the_identity_counts():
    trained = answers([[2.0, -1.0], [0.0, 1.0], [1.0, 0.0]], labels=np.array([[0, 5], [0, 1], [0, 0]]))
    report = compare.compare(trained, trained.logits, compare.FLOAT)
    assert (report.accuracy_model, report.accuracy_artifact) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


@pytest.mark.parametrize(
    ("count", "wrong", "bound", "passes"),
    [
        (2, 1, 0.98, False),
        (3, 1, 0.98, True),
        (24, 1, 0.98, True),
        (24, 1, 1.0, False),
        (24, 2, 0.98, False),
        (60, 1, 0.98, True),
        (60, 2, 0.98, False),
        (100, 2, 0.98, True),
        (100, 3, 0.98, False),
        (10, 1, 0.995, False),
        (11, 1, 0.995, True),
    ],
)
def test_one_of_few_images_may_differ_where_a_bound_allows_any(count, wrong, bound, passes):
    logits = np.eye(4, dtype=np.float32)[np.arange(count) % 4]
    found = logits.copy()
    found[:wrong] = found[:wrong, ::-1]
    report = compare.compare(answers(logits), found, compare.Tolerance(bound, 1.0))
    assert report.count == count
    assert (compare.problem(report, compare.Tolerance(bound, 1.0), strict=True) is None) == passes


def test_the_interval_is_wilsons():
    logits = np.eye(4, dtype=np.float32)[np.arange(20) % 4]
    found = logits.copy()
    found[0] = found[0, ::-1]
    report = compare.compare(answers(logits), found, compare.Tolerance(0.98, 1.0))
    assert report.interval == pytest.approx((0.7639, 0.9911), abs=1e-4)  # 19 of 20


@pytest.mark.parametrize(
    ("format_name", "placement", "told"),
    [
        ("onnx-ort", "input", "Slim.quant.placement: deploy also trains the roundings that this format adds; "),
        ("onnx-openvino", "input", "; ppcls-compress analyze names the layers"),
        ("onnx-openvino", "deploy", "is meant for onnx-ort, which runs in OpenVINO too; "),
    ],
)
def test_a_missed_bound_says_by_how_much_how_sure_that_is_and_what_helps(
    exported, monkeypatch, format_name, placement, told
):
    step = {"kind": "quant", "options": {"placement": placement}}
    description = artifact.Description(SHAPE, "logits", format=format_name)
    trained_so = artifact.Artifact(exported / "one", description, {"version": 1, "steps": [step]}, {})
    monkeypatch.setattr(artifact, "load", lambda directory: trained_so)
    logits = np.eye(4, dtype=np.float32)[np.arange(60) % 4]
    found = logits.copy()
    found[:4] = found[:4, ::-1]
    monkeypatch.setattr(verify, "run_fresh", lambda directory, images, runtime=None: (found, {}))
    with pytest.raises(verify.ParityError) as error:
        verify.parity(answers(logits), exported / "one", tolerance=compare.Tolerance(0.98, 1.0))
    text = str(error.value)
    assert "that is 4.67 points short; 60 images place it from 84.1% to 97.4%; " in text
    assert told in text
    assert text.endswith(f"; -o 'Global.export_agreement={{{format_name}: 0.933}}' takes it as it is")

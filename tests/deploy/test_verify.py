import numpy as np
import paddle
import pytest

from ppcls_compress.deploy import fresh, verify
from ppcls_compress.deploy.latency import measure
from ppcls_compress.deploy.paddle_export import export
from ppcls_compress.errors import UserError

SHAPE = (3, 4, 4)


def linear(seed):
    paddle.seed(seed)
    return paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(48, 5))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    export(linear(0), folder / "one", image_shape=SHAPE, softmax=False)
    export(linear(1), folder / "two", image_shape=SHAPE, softmax=False)
    return folder


def images(count=8):
    return np.random.default_rng(3).standard_normal((count, *SHAPE), np.float32)


def test_measures():
    expected = np.array([[4.0, 0, 0], [0, 2, 1.9], [0, 0, 1]], np.float32)
    found = np.array([[4.0, 0, 0], [0, 2, 2.1], [1, 0, 0]], np.float32)
    report = verify.compare(expected, found, tie=0.05)
    assert report.top1_agreement == pytest.approx(1 / 3)
    assert report.agreement == pytest.approx(2 / 3)
    assert report.mean_difference == pytest.approx((0.2 + 1 + 1) / 9 / 4)
    assert report.max_difference == pytest.approx(0.25)


def test_other_number_of_classes():
    with pytest.raises(UserError, match=r"outputs of shape \[2, 3\] exported, \[2, 4\] trained"):
        verify.compare(np.zeros((2, 4)), np.zeros((2, 3)), tie=0)


def test_another_model_is_told_apart(exported):
    with pytest.raises(UserError, match=r"does not compute what the trained one does: same top-1 on .* of 8 images"):
        verify.parity(linear(1), exported / "one", images())


def test_tolerance_is_applied(exported, monkeypatch):
    outputs = verify.eager(linear(0), images(), softmax=False)
    outputs[0, 0] += 0.01 * np.abs(outputs).max()
    monkeypatch.setattr(verify, "run_fresh", lambda directory, images: outputs)
    with pytest.raises(UserError, match=r"allowed: 100\.00% near ties aside, 1\.0e-04 mean, 1\.0e-03 largest"):
        verify.parity(linear(0), exported / "one", images())
    report = verify.parity(linear(0), exported / "one", images(), tolerance=verify.QUANTIZED)
    assert report.max_difference == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_output_that_is_not_finite(exported, monkeypatch, value):
    model = linear(0)
    with pytest.raises(UserError, match="own output is not finite"):
        verify.parity(model, exported / "one", np.full((1, *SHAPE), value, np.float32))
    monkeypatch.setattr(verify, "run_fresh", lambda directory, images: np.full((len(images), 5), value, np.float32))
    with pytest.raises(UserError, match="does not compute"):
        verify.parity(model, exported / "one", images())


def test_error_in_the_fresh_process_is_told(exported, tmp_path):
    with pytest.raises(UserError, match=r"deploy\.verify: failed: .*nowhere: no such folder"):
        fresh.run_module("ppcls_compress.deploy.verify", tmp_path / "nowhere", "a", "b")


def test_crash_and_hang_are_told(tmp_path, monkeypatch):
    (tmp_path / "crashing.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGABRT)")
    (tmp_path / "hanging.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UserError, match="crashing: crashed with SIGABRT: it wrote nothing"):
        fresh.run_module("crashing")
    with pytest.raises(UserError, match="hanging: stopped, because it took longer than"):
        fresh.run_module("hanging", timeout=0.5)


def test_latency_side_by_side(exported):
    found = measure({"a": exported / "one", "b": exported / "two"}, [2, *SHAPE], rounds=3)
    assert list(found) == ["a", "b"]
    assert all(0 < latency.median_ms <= latency.p90_ms for latency in found.values())


def test_latency_of_nothing(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        measure({"a": tmp_path / "nowhere"}, [1, *SHAPE], rounds=1)

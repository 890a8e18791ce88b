import csv
import functools

import paddle
import pytest
from support.project import SIZE, make_project

from ppcls_compress import machine
from ppcls_compress.cli import main
from ppcls_compress.deploy import artifact
from ppcls_compress.deploy.export import export
from ppcls_compress.deploy.extras import TO_ONNX, missing
from ppcls_compress.deploy.measure import latency
from ppcls_compress.errors import UserError
from ppcls_compress.slim import recipe
from ppcls_compress.slim.options import QuantOptions, SlimOptions

SHAPE = (3, SIZE, SIZE)
HAS_OPENVINO = not missing([*TO_ONNX, "openvino"])


def net():
    paddle.seed(0)
    return paddle.nn.Sequential(
        paddle.nn.Conv2D(3, 8, 3), paddle.nn.ReLU(), paddle.nn.Flatten(), paddle.nn.Linear(288, 3)
    )


def described(shape=SHAPE, **options):
    return artifact.Description(shape, model_name="Net", **options)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A float artifact in two formats where OpenVINO is installed, an int8 one, and one for another image size."""
    root = tmp_path_factory.mktemp("benchmark")
    make_project(root)
    export(net(), root / "float", description=described())
    export(paddle.nn.Conv2D(1, 2, 2), root / "other", description=described((1, 2, 2)))
    images = paddle.randn([4, *SHAPE])
    context = recipe.Context(lambda: [images])
    options = SlimOptions(quant=QuantOptions(name="ptq"))
    model, record = recipe.compress(net(), options, [[1, *SHAPE]], context=context)
    export(model, root / "int8", description=described(), record=record)
    if HAS_OPENVINO:
        for folder, network, steps in (("float", net(), None), ("int8", model, record)):
            place = root / folder / "onnx-openvino"
            export(network, place, description=described(format="onnx-openvino"), record=steps)
    return root


def run(root, *arguments):
    return main(["benchmark", "-c", str(root / "config.yaml"), "-o", f"Global.image_shape={list(SHAPE)}", *arguments])


@pytest.mark.slow
@pytest.mark.usefixtures("started_processes")  # whose memory is their own
def test_table_csv_and_chart(root, tmp_path, capsys):
    artifacts = ("--artifacts", str(root / "float"), f"small={root / 'int8'}")
    options = ("--batch", "2", "--rounds", "3", "--output", str(tmp_path / "out"))
    assert run(root, *artifacts, *options) == 0
    with open(tmp_path / "out" / "benchmark.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    runtimes = [row["runtime"] for row in rows if row["name"] == "small"]
    expected = ["Paddle Inference"]
    if HAS_OPENVINO:
        expected += ["OpenVINO", "OpenVINO, own precision"] if machine.has_bfloat16() else ["OpenVINO"]
    assert runtimes == expected
    assert len(rows) == 2 * len(expected)
    assert {row["compression"] for row in rows if row["name"] == "small"} == {"int8"}
    for row in rows:
        assert 0 < float(row["median_ms"]) <= float(row["p90_ms"])
        assert 10 < float(row["peak_mb"]) < 5000
        assert float(row["images_per_second"]) > 0
    memory = {row["runtime"]: float(row["peak_mb"]) for row in rows}
    assert memory.get("OpenVINO", 0) < memory["Paddle Inference"]  # its process holds no Paddle
    firsts = [row for row in rows if row["name"] == str(root / "float")]
    assert {float(row["speedup"]) for row in firsts} == {1.0}
    assert (tmp_path / "out" / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert "over fastest" in capsys.readouterr().out


def test_what_was_measured_before_a_failure_is_kept(root, tmp_path, capsys, monkeypatch):
    measure = latency.measure

    def failing(candidates, shape, **options):
        if shape[0] == 3:
            raise UserError("no room for 3 images")
        return measure(candidates, shape, **options)

    monkeypatch.setattr(latency, "measure", failing)
    options = ("--batch", "1", "3", "--rounds", "1", "--output", str(tmp_path))
    assert run(root, "--artifacts", str(root / "int8"), *options) == 2
    told = capsys.readouterr()
    assert "error: no room for 3 images" in told.err
    assert "batch 1, 1 thread" in told.out
    with open(tmp_path / "benchmark.csv", newline="") as file:
        assert {row["batch"] for row in csv.DictReader(file)} == {"1"}


def test_a_processor_without_fast_integers_is_told(root, tmp_path, capsys, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx2\n")
    monkeypatch.setattr(machine, "int8_note", functools.partial(machine.int8_note, tmp_path / "cpuinfo"))

    def stopped(*_, **options):
        raise UserError("the note comes before this")

    monkeypatch.setattr(latency, "measure", stopped)
    assert run(root, "--artifacts", str(root / "int8"), "--output", str(tmp_path)) == 2
    assert "neither avx512_vnni nor avx_vnni: int8 gains little here" in capsys.readouterr().err


def test_too_many_threads_are_refused_before_anything_is_measured(root, capsys, monkeypatch):
    monkeypatch.setattr(latency, "measure", None)
    assert run(root, "--artifacts", str(root / "int8"), "--threads", "1", "999") == 2
    assert "error: --threads: this process may use only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--artifacts", "{root}/float", "--threads", "0"), "--threads: expected 1 or more, found 0"),
        (("--artifacts", "{root}/float", "--batch", "1", "-2"), "--batch: expected 1 or more, found -2"),
        (("--artifacts", "{root}/float", "--rounds", "0"), "--rounds: expected 1 or more, found 0"),
        (("--artifacts", "{root}/float", "--threads", "999"), "--threads: this process may use only"),
        (("--artifacts", "{root}/nowhere"), "--artifacts: {root}/nowhere does not exist"),
        (("--artifacts", "{root}/images"), "not a complete exported model"),
        (("--artifacts", "{root}/float", "{root}/float"), "two artifacts are called"),
        (("--artifacts", "{root}/float", "{root}/other"), "takes images [1, 2, 2]"),
        (("--artifacts", "{root}/other"), "take images [1, 2, 2], Global.image_shape is [3, 8, 8]"),
    ],
)
def test_mistakes_are_one_line(root, capsys, arguments, expected):
    capsys.readouterr()
    assert run(root, *(text.format(root=root) for text in arguments)) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert expected.format(root=root) in errors[0]

import json

import pytest
from support.commands import errors
from support.onnx_extras import needs_onnx

pytest.importorskip("onnx")
pytestmark = needs_onnx

from support import foreign  # noqa: E402

from ppcls_compress.cli import main  # noqa: E402
from ppcls_compress.deploy.predictor import Predictor  # noqa: E402


@pytest.fixture
def project(tmp_path):
    (tmp_path / "model.onnx").write_bytes(foreign.model().SerializeToString())
    (tmp_path / "inference.yml").write_text(foreign.PREPROCESS)
    foreign.photos(tmp_path / "photos")
    (tmp_path / "five.txt").write_text("00.png 4\n")
    (tmp_path / "no_images").mkdir()
    (tmp_path / "no_images" / "00.png").write_bytes(b"no picture")
    return tmp_path


def _two_inputs():
    return foreign.model(("photo)", "photo, float[1, 4] more)"), ("Softmax <axis = 1> (g)", "Add (g, more)"))


def _larger():
    return foreign.model(("3, 16, 16", "3, 32, 32"))


def _without_layers():
    return foreign.onnx.parser.parse_model(
        """<ir_version: 7, opset_import: ["" : 13]> net (float[1, 3, 16, 16] photo) => (float[1, 3] scores) {
            a = GlobalAveragePool (photo)  scores = Flatten (a)
        }"""
    )


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (_two_inputs, "takes 2 inputs (photo, more); a model of one image is needed"),
        (_larger, "takes images [3, 32, 32], its preprocessing gives [3, 16, 16]"),
        (_without_layers, "nothing in the model can be quantized: it has no convolution and no linear layer"),
    ],
)
def test_models_that_cannot_be_quantized_are_one_line_and_leave_nothing(project, capsys, model, expected):
    (project / "model.onnx").write_bytes(model().SerializeToString())
    assert quantize(project) == 2
    (line,) = errors(capsys)
    assert expected in line
    assert not (project / "out").exists()


def quantize(root, *more):
    arguments = {"--model": root / "model.onnx", "--images": root / "photos", "--output": root / "out"}
    words = [str(word) for pair in arguments.items() for word in pair]
    return main(["quantize", *words, "--calibration-images", "16", *map(str, more)])


def test_an_exported_model_is_quantized_compared_and_evaluated(project, capsys):
    assert quantize(project, "--format", "onnx-ort", "--list", project / "photos.txt") == 0
    told = capsys.readouterr().err
    assert "compared with the model: same class for" in told
    assert [line.split(" on ")[0].split()[-1] for line in told.splitlines() if "top1" in line] == ["float", "onnx-ort"]
    predictor = Predictor(project / "out" / "onnx-ort")
    description = predictor.artifact.description
    assert (description.output, description.integer_layers, description.model_name) == ("probabilities", 3, "model")
    assert description.parity["agreement"] >= 0.9
    step = json.loads((project / "out" / "onnx-ort" / "slim.json").read_text())["steps"][0]
    assert step["quantized"] == ["stem", "depth", "head"]
    assert set(predictor.predict(project / "photos" / "00.png")[0]) == {"class_id", "score", "label_name"}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--images", "{root}/none"), "--images: {root}/none does not exist"),
        (("--images", "{root}/model.onnx"), "{root}/model.onnx: not an image"),
        (("--images", "{root}/no_images"), "00.png: "),
        (("--preprocess", "{root}/photos.txt"), "photos.txt: "),
        (("--model", "{root}/photos"), "{root}/photos: holds no model"),
        (("--gives", "label_probabilities"), "--gives: label_probabilities asked for, but the model ends in Softmax"),
        (("--format", "paddle"), "--format: unknown format of exported models 'paddle'"),
        (("--agreement", "1.5"), "--agreement: expected a share from 0 to 1, found 1.5"),
        (("--agreement", "1", "--format", "onnx-openvino", "--list", "{root}/none.txt"), "--list: {root}/none.txt"),
        (("--list", "{root}/photos.txt", "--gives", "features"), "a model that gives features is judged by eval"),
        (("--list", "{root}/five.txt"), "{root}/five.txt:1: label 4 is outside 0 .. 3"),
        (("-o", "Global.seed=1"), "-o: Global.seed=1: replaces a value of the file that -c names"),
        (("--batches", "3"), "--batches: is for a configuration's weights"),
    ],
)
def test_bad_requests_are_one_line_and_leave_nothing(project, capsys, more, expected):
    assert quantize(project, *(word.format(root=project) for word in more)) == 2
    (line,) = errors(capsys)
    assert expected.format(root=project) in line
    assert not (project / "out").exists()


def test_a_format_that_was_named_is_written_or_refused(project, capsys, monkeypatch):
    from ppcls_compress.deploy import extras

    installed = extras.missing
    monkeypatch.setattr(extras, "missing", lambda names: [n for n in names if n == "openvino"] or installed(names))
    assert quantize(project, "--format", "onnx-openvino") == 2
    assert "openvino" in errors(capsys)[0]
    assert not (project / "out").exists()


def test_a_file_that_is_too_far_from_the_float_model_is_not_kept(project, capsys, monkeypatch):
    from ppcls_compress.deploy import compare
    from ppcls_compress.deploy.imported import quantize as steps

    monkeypatch.setattr(steps, "FROM_FLOAT", compare.Tolerance(agreement=1.0, mean=0.0))
    assert quantize(project, "--format", "onnx-openvino") == 2
    assert "does not compute what the trained one does" in errors(capsys)[0]
    assert not (project / "out").exists()


def test_options_of_exported_models_go_with_one(capsys):
    assert main(["quantize", "-c", "config.yaml", "--gives", "logits"]) == 2
    assert main(["quantize"]) == 2
    assert ["--gives: goes with --model" in line or "-c: the YAML file" in line for line in errors(capsys)] == [
        True
    ] * 2

import json

import pytest
import yaml
from support.commands import errors
from support.onnx_extras import needs_onnx
from support.project import SIZE, make_project

pytest.importorskip("onnx")
pytestmark = needs_onnx

from support import foreign  # noqa: E402

from ppcls_compress.cli import main  # noqa: E402


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("analyzed")
    make_project(root)
    sized = (f"float[1, 3, {foreign.SIZE}, {foreign.SIZE}]", f"float[1, 3, {SIZE}, {SIZE}]")
    (root / "model.onnx").write_bytes(foreign.model(sized).SerializeToString())
    return root


def analyze(root, *more):
    words = ["--model", root / "model.onnx", "-c", root / "config.yaml", "--out", root / "out", *more]
    return main(["analyze", *map(str, words)])


COARSE = ("-o", "Slim.quant={name: ptq, weight_bits: 2}")


def test_each_layer_is_measured_once_and_what_helps_is_written(project, capsys):
    listed = ("--images", project / "images", "--list", project / "images" / "val_list.txt")
    assert analyze(project, *COARSE, *listed) == 0
    told = capsys.readouterr().err
    assert "top-1: " in told
    assert "in float" in told
    found = json.loads((project / "out" / "analysis.json").read_text())
    assert (found["metric"], found["images"]) == ("top-1", f"12 images of {project}/images/val_list.txt")
    layers = found["layers"]
    assert sorted(row["layer"] for row in layers) == ["depth", "head", "stem"]
    assert all("coarse weights" in [cause["kind"] for cause in row["causes"]] for row in layers)
    block = yaml.safe_load((project / "out" / "suggested.yaml").read_text())["Slim"]["quant"]
    assert {row["layer"] for row in layers if row["output_db"] < 20} == set(block["per_layer"][0]["layers"])
    (project / "out" / "analysis.json").write_text(json.dumps({**found, "layers": layers[:-1]}))
    assert analyze(project, *COARSE, *listed) == 0
    assert len([line for line in capsys.readouterr().err.splitlines() if "it alone rounded" in line]) == 1
    assert json.loads((project / "out" / "analysis.json").read_text())["layers"] == layers
    assert analyze(project, *COARSE) == 2  # without labels another metric
    assert "analysis.json: images: analyzed with other ones" in errors(capsys)[0]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--model", "m.onnx", "--images", "{root}/none"), "--images: {root}/none does not exist"),
        (("--model", "m.onnx"), "--images: needed, a folder of images to calibrate on"),
        (
            ("--model", "{root}/model.onnx", "--images", "{root}/images"),
            "--preprocess: {root}/model.onnx tells nothing",
        ),
        (("--list", "{root}/x.txt", "-c", "{root}/config.yaml"), "--list: goes with --model, an exported model"),
        (
            ("--model", "{root}/model.onnx", "--images", "{root}/images", "--artifact", "{root}/none"),
            "{root}/none",
        ),
        (("-c", "{root}/config.yaml", "--images", "few"), "--images: expected 1 or more, found few"),
        ((), "-c: the YAML file of the experiment is needed, or an exported model by --model and --images"),
    ],
)
def test_bad_requests_are_one_line(project, capsys, more, expected):
    assert main(["analyze", *(word.format(root=project) for word in more)]) == 2
    (line,) = errors(capsys)
    assert expected.format(root=project) in line

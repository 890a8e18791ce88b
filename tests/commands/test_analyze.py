import json
import shutil

import pytest
import yaml
from support.commands import call, errors
from support.project import make_project


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("analyze")
    config = make_project(root)
    assert call("train", config, f"Global.output_dir={root}/dense", "Global.epochs=1") == 0
    return root


def analyze(root, *overrides, arguments=()):
    weights = f"Global.pretrained_model={root}/dense/CIFARResNet8/latest"
    settings = (weights, f"Global.output_dir={root}/out", *overrides)
    return call("analyze", root / "config.yaml", *settings, arguments=[*arguments])


def test_each_layer_is_measured_once_and_what_helps_is_written(trained, capsys):
    coarse = "Slim.quant={name: ptq, weight_bits: 2}"
    assert analyze(trained, coarse) == 0
    folder = trained / "out" / "CIFARResNet8" / "analysis"
    layers = json.loads((folder / "analysis.json").read_text())["layers"]
    assert len({row["layer"] for row in layers}) == len(layers) == 8
    assert [row["output_db"] for row in layers] == sorted(row["output_db"] for row in layers)
    assert all("coarse weights" in [cause["kind"] for cause in row["causes"]] for row in layers)
    block = yaml.safe_load((folder / "suggested.yaml").read_text())["Slim"]["quant"]
    assert {row["layer"] for row in layers if row["output_db"] < 20} == set(block["per_layer"][0]["layers"])
    rest = {**json.loads((folder / "analysis.json").read_text()), "layers": layers[:-1]}
    (folder / "analysis.json").write_text(json.dumps(rest))
    capsys.readouterr()
    assert analyze(trained, coarse) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "classes as in float" in line]
    assert len(told) == 1
    assert json.loads((folder / "analysis.json").read_text())["layers"] == layers
    assert analyze(trained, "Slim.quant={name: ptq}") == 2
    (line,) = errors(capsys)
    assert "analysis.json: network: analyzed with other ones" in line


def test_weights_of_its_own_run_are_named_where_others_are_given_or_none(trained, tmp_path, capsys):
    shutil.copytree(trained / "dense", tmp_path / "own")
    ptq, output = "Slim.quant={name: ptq}", f"Global.output_dir={tmp_path}/own"
    assert call("analyze", trained / "config.yaml", ptq, output) == 2
    own = f"{tmp_path}/own/CIFARResNet8/best_model"
    assert errors(capsys) == [f"error: Global.pretrained_model: name the trained weights, such as {own}"]
    named = f"{trained}/dense/CIFARResNet8/latest"
    few = ["--images", "2"]
    assert call("analyze", trained / "config.yaml", ptq, output, f"Global.pretrained_model={named}", arguments=few) == 0
    told = f"{named}, as Global.pretrained_model says; what this configuration's own run left is {own}"
    assert told in capsys.readouterr().err
    assert call("analyze", trained / "config.yaml", ptq, output, f"Global.pretrained_model={own}", arguments=few) == 0
    assert "own run" not in capsys.readouterr().err


def test_an_exported_file_is_looked_into(trained, capsys):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    ptq, out = "Slim.quant={name: ptq}", f"Global.output_dir={trained}/int8"
    dense = f"Global.pretrained_model={trained}/dense/CIFARResNet8/latest"
    assert call("quantize", trained / "config.yaml", dense, out, ptq) == 0
    weights = f"Global.pretrained_model={trained}/int8/CIFARResNet8/quantized"
    exported = f"Global.save_inference_dir={trained}/exported"
    bound = "Global.export_agreement=0.5"  # so short a training leaves classes that tie
    formats = ["--format", "onnx-ort"]
    assert call("export_model", trained / "config.yaml", weights, ptq, exported, bound, arguments=formats) == 0
    arguments = ["--artifact", str(trained / "exported" / "onnx-ort"), "--images", "16"]
    capsys.readouterr()
    assert call("analyze", trained / "config.yaml", weights, out, ptq, arguments=arguments) == 0
    found = json.loads((trained / "int8" / "CIFARResNet8" / "analysis" / "artifact.json").read_text())
    assert (found["astray"], found["faults"]) == (None, {})
    assert len(found["tensors"]) == 8
    assert "the first layer that goes astray in the file: none" in capsys.readouterr().err
    capsys.readouterr()
    arguments[1] = str(trained / "int8")
    assert call("analyze", trained / "config.yaml", weights, out, ptq, arguments=arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1  # before anything is analyzed


@pytest.mark.parametrize(
    ("overrides", "arguments", "expected"),
    [
        ((), (), "Slim.quant: this section says what is analyzed"),
        (("Slim.quant={name: ptq}",), ("--images", "0"), "--images: expected 1 or more, found 0"),
        (("Slim.quant={name: ptq}", "Global.pretrained_model=null"), (), "Global.pretrained_model: name the trained"),
    ],
)
def test_bad_requests_are_one_line(trained, capsys, overrides, arguments, expected):
    assert analyze(trained, *overrides, arguments=arguments) == 2
    (line,) = errors(capsys)
    assert expected in line

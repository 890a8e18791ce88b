"""Weights say by their record what they are; and an export does not take another network's place unasked."""

import json

import pytest
import yaml
from support.commands import call, errors
from support.project import config as plain_config

from ppcls_compress.deploy import artifact, formats
from ppcls_compress.deploy.replacing import check_all_replaceable, check_replaceable
from ppcls_compress.errors import UserError

FILES = formats.get("paddle").files


@pytest.fixture
def dense(trained_config, tmp_path):
    """A configuration without a `Slim` section, and the override that names the quantized weights."""
    path = tmp_path / "dense.yaml"
    path.write_text(yaml.safe_dump(plain_config(trained_config.parent)))
    weights = f"Global.pretrained_model={trained_config.parent}/output/CIFARResNet8/latest"
    return path, weights, f"Global.save_inference_dir={tmp_path}/inference"


def test_quantized_weights_are_exported_quantized_without_a_word_of_it(dense, tmp_path, capsys):
    assert call("export_model", *dense) == 0
    told = "".join(capsys.readouterr())
    assert "the weights are quantized (Slim.quant.name: pact, says their record) and stay so" in told
    found = artifact.load(tmp_path / "inference")
    assert found.quantized
    assert found.integers
    assert (tmp_path / "inference" / "onednn" / "inference.yml").is_file()


@pytest.mark.parametrize("override", ["Slim=null", "Slim.quant=null", "Slim={quant: null}"])
def test_float_is_what_must_be_asked_for(dense, tmp_path, capsys, override):
    assert call("export_model", *dense, override) == 0
    assert "quantization in the weights is not asked for: dropped" in "".join(capsys.readouterr())
    assert not artifact.load(tmp_path / "inference").quantized


def test_they_are_evaluated_and_trained_as_what_they_are(trained_config, trained, dense, tmp_path, capsys):
    metrics = []
    for source in ((trained_config, *trained), dense, (*dense, "Slim=null")):
        assert call("eval", *source, arguments=["--json", str(tmp_path / "metrics.json")]) == 0
        metrics.append(json.loads((tmp_path / "metrics.json").read_text()))
    assert metrics[0] == metrics[1]
    assert metrics[0]["loss"] != metrics[2]["loss"]
    out = f"Global.output_dir={tmp_path}/again"
    assert call("train", *dense, out, "Global.epochs=1") == 0
    record = json.loads((tmp_path / "again/CIFARResNet8/latest.slim.json").read_text())
    assert [step["kind"] for step in record["steps"]] == ["quant"]
    assert "alpha" in "".join(capsys.readouterr())
    resumed = f"Global.checkpoints={tmp_path}/again/CIFARResNet8/latest"
    assert call("train", dense[0], out, resumed, "Global.epochs=2") == 0
    assert call("train", dense[0], out, resumed, "Global.epochs=3", "Slim=null") == 2
    assert "the checkpoint has the step that Slim.quant does not ask for" in errors(capsys)[0]


def test_an_export_does_not_replace_that_of_another_network(trained_config, trained, dense, tmp_path, capsys):
    folder = tmp_path / "inference"
    assert call("export_model", *dense) == 0
    assert call("export_model", *dense, "Slim=null") == 0  # of the same weights, which the user names
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    other = f"Global.pretrained_model={trained_config.parent}/output/CIFARResNet8/best_model"
    assert call("export_model", *dense, other) == 2
    assert errors(capsys) == [
        f"error: {folder}: holds the export of {trained_config.parent}/output/CIFARResNet8/latest; name another folder "
        "with -o Global.save_inference_dir=FOLDER, or add --overwrite"
    ]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert call("export_model", *dense, other, arguments=["--overwrite"]) == 0
    assert artifact.load(folder).description.source.endswith("best_model")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Global: {model_name: ResNet50}\nPreProcess: {}\n", "holds an exported model that another program wrote"),
        ("Artifact: {source: output/a/best_model}\n", "holds the export of output/a/best_model"),
        ("Artifact: {version: 2}\n", None),
        ("Artifact: 3\n", None),
        ("{not yaml", None),
    ],
)
def test_what_counts_as_another_network(tmp_path, monkeypatch, text, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inference.yml").write_text(text)
    for source in ("output/b/best_model", ""):
        if says is None:
            check_replaceable(tmp_path, FILES, source)
            continue
        with pytest.raises(UserError, match=says):
            check_replaceable(tmp_path, FILES, source)


def test_the_same_weights_named_in_another_way_are_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inference.yml").write_text("Artifact: {source: output/a/best_model}\n")
    check_replaceable(tmp_path, FILES, f"{tmp_path}/output/b/../a/best_model")
    check_replaceable(tmp_path / "nowhere", FILES, "")


@pytest.mark.parametrize("name", ["inference.pdiparams", "slim.json"])
def test_files_that_no_export_tells_of_are_not_replaced(tmp_path, name):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "model.onnx").write_text("of no format in this folder")
    check_replaceable(tmp_path, FILES, "")
    (tmp_path / name).write_text("of another program")
    line = f"{tmp_path}: holds {name}, of which no export from here tells; do this"
    with pytest.raises(UserError, match=f"^{line}$"):
        check_replaceable(tmp_path, FILES, "output/a/best_model", "do this")


def test_the_folders_of_all_formats_and_of_what_is_written_with_them_count(tmp_path):
    kinds = [formats.get("paddle"), formats.get("onnx-ort")]
    check_all_replaceable(tmp_path, kinds, "")
    for folder, name in (("onednn", "inference.pdmodel"), ("onnx-ort", "model.onnx"), (".", "inference.json")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text("of another program")
        with pytest.raises(UserError, match=f": holds {name}, of which"):
            check_all_replaceable(tmp_path, kinds, "")
        (tmp_path / folder / name).unlink()
    check_all_replaceable(tmp_path, kinds, "")

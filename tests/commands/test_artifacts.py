import json

import pytest
from support.commands import QUANT, call
from support.project import make_project

PRUNE = "Slim.prune={name: fpgm, pruned_ratio: 0.3}"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A project whose dense and whose pruned and quantized model are exported."""
    root = tmp_path_factory.mktemp("artifacts")
    config = make_project(root)
    for name, slim in (("dense", ()), ("small", (PRUNE, QUANT))):
        assert call("train", config, *slim, f"Global.output_dir={root}/{name}", "Global.epochs=1") == 0
        weights = f"Global.pretrained_model={root}/{name}/CIFARResNet8/latest"
        assert call("export_model", config, *slim, weights, f"Global.save_inference_dir={root}/{name}/inference") == 0
    return root


def weights(root, name):
    return f"Global.pretrained_model={root}/{name}/CIFARResNet8/latest"


def test_export_writes_a_smaller_artifact_with_its_record(exported):
    sizes = {
        name: (exported / name / "inference" / "inference.pdiparams").stat().st_size for name in ("dense", "small")
    }
    assert sizes["small"] < 0.25 * sizes["dense"]
    record = json.loads((exported / "small" / "inference" / "slim.json").read_text())
    assert [step["kind"] for step in record["steps"]] == ["prune", "quant"]
    assert not (exported / "dense" / "inference" / "slim.json").exists()


@pytest.mark.parametrize("name", ["dense", "small"])
def test_checkpoint_and_artifact_give_the_same_answers(exported, capsys, name):
    config = exported / "config.yaml"
    slim = (PRUNE, QUANT) if name == "small" else ()
    answers = []
    for arguments in ((), ("--artifact", str(exported / name / "inference"))):
        capsys.readouterr()
        assert call("infer", config, *slim, weights(exported, name), arguments=arguments) == 0
        answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    for by_checkpoint, by_artifact in zip(*answers, strict=True):
        assert by_checkpoint["file_name"] == by_artifact["file_name"]
        assert by_checkpoint["scores"] == pytest.approx(by_artifact["scores"], abs=0.02)
    assert len(answers[0]) == 12


def test_report_puts_artifacts_side_by_side(exported, tmp_path, capsys):
    artifacts = [f"{name}={exported}/{name}/inference" for name in ("dense", "small")]
    arguments = [*artifacts, "--out", str(tmp_path / "rows.json"), "--rounds", "5"]
    assert call("report", exported / "config.yaml", arguments=arguments) == 0
    dense, small = json.loads((tmp_path / "rows.json").read_text())
    assert list(dense) == ["name", "runtime", "metric", "top1", "params", "flops", "bytes", "latency_ms"]
    assert (dense["name"], small["name"]) == ("dense", "small")
    assert small["params"] < 0.6 * dense["params"]
    assert small["flops"] < 0.6 * dense["flops"]
    assert small["bytes"] < dense["bytes"]
    assert 0 <= dense["top1"] <= 100
    assert "multiply-adds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("artifacts", "expected"),
    [
        (["=dense"], "expected NAME=DIR or DIR, found '=dense'"),
        (["nowhere/at/all"], "report: nowhere/at/all does not exist"),
        (["dense=/nowhere/at/all"], "report: dense: /nowhere/at/all does not exist"),
        (["a={root}/dense/inference", "a={root}/small/inference"], "two artifacts are called 'a'"),
        (["a={root}/images"], "holds no exported model"),
    ],
)
def test_bad_artifacts_are_one_line(exported, capsys, artifacts, expected):
    capsys.readouterr()
    arguments = [text.format(root=exported) for text in artifacts]
    assert call("report", exported / "config.yaml", arguments=arguments) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert expected in errors[0]


def test_export_without_weights_is_refused(exported, capsys):
    assert call("export_model", exported / "config.yaml") == 2
    assert "Global.pretrained_model: name the trained weights" in capsys.readouterr().err


def test_dense_weights_are_not_silently_quantized(exported, capsys, tmp_path):
    folder = f"Global.save_inference_dir={tmp_path}/inference"
    assert call("export_model", exported / "config.yaml", QUANT, weights(exported, "dense"), folder) == 2
    assert "Slim.quant: the weights have no such step" in capsys.readouterr().err
    assert not (tmp_path / "inference").exists()

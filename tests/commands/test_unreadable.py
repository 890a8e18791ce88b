"""Images that are passed over count in no score, and nothing is done on none at all."""

import pytest
from support.commands import call, errors
from support.project import make_project

SKIP = {split: f"DataLoader.{split}.dataset.skip_bad_images=100" for split in ("Train", "Eval")}


@pytest.fixture
def project(tmp_path):
    config = make_project(tmp_path)
    assert call("train", config, "Global.epochs=1") == 0
    return config, f"Global.pretrained_model={tmp_path}/output/CIFARResNet8/latest"


def spoil(config, split, count):
    for path in sorted((config.parent / "images" / split).iterdir())[:count]:
        path.write_bytes(b"x")


def test_images_that_no_score_counts_are_named(project, capsys):
    config, weights = project
    spoil(config, "val", 2)
    assert call("export_model", config, weights, SKIP["Eval"]) == 0
    for arguments in ([], ["--artifact", f"{config.parent}/inference"]):
        capsys.readouterr()
        assert call("eval", config, weights, SKIP["Eval"], arguments=arguments) == 0
        told = [line for line in capsys.readouterr().err.splitlines() if "not in the score" in line]
        assert len(told) == 2
        assert f"not in the score: {config.parent}/images/val/000.png: not an image" in told[0]
    capsys.readouterr()
    assert call("train", config, SKIP["Eval"], f"Global.output_dir={config.parent}/again") == 0  # of two epochs
    assert capsys.readouterr().err.count("not in the score") == 2


@pytest.mark.parametrize("command", ["eval", "export_model", "sensitivity"])
def test_there_is_no_score_of_nothing(project, capsys, command):
    config, weights = project
    spoil(config, "val", 12)
    capsys.readouterr()
    assert call(command, config, weights, SKIP["Eval"]) == 2
    (line,) = errors(capsys)
    assert "none of its images can be read" in line or "none of the images could be read" in line


def test_there_is_no_training_on_nothing(project, capsys):
    config, _ = project
    spoil(config, "train", 24)
    capsys.readouterr()
    assert call("train", config, SKIP["Train"]) == 2
    assert errors(capsys) == ["error: DataLoader.Train: none of its images can be read"]

"""`Slim.quant.backend: paddleslim` from training to an artifact; with a stand-in, and the real one."""

import json
import sys

import numpy as np
import pytest
from support.commands import call
from support.paddleslim import StandInQAT, live, pretend
from support.project import make_project

from ppcls_compress import io

QUANT = "Slim.quant={name: pact, backend: paddleslim}"
PRUNE = "Slim.prune={name: fpgm, pruned_ratio: 0.3}"


@pytest.mark.parametrize("which", ["stand-in", "installed"])
def test_train_resume_eval_and_export(which, monkeypatch, tmp_path, capsys):
    if which == "installed":
        live()
    else:
        pretend(monkeypatch, QAT=StandInQAT)
    config = make_project(tmp_path)
    # A thousand times this is how fast PaddleSlim's alpha learns.
    slim = [QUANT, PRUNE, "Optimizer.lr.learning_rate=0.005"]
    assert call("train", config, *slim, f"Global.output_dir={tmp_path}/whole") == 0
    whole = tmp_path / "whole" / "CIFARResNet8"
    steps = io.read_json(whole / "latest.slim.json")["steps"]
    assert [step["kind"] for step in steps] == ["prune", "quant"]
    assert steps[1]["options"]["backend"] == "paddleslim"
    state = io.read_state(whole / "latest.pdparams")
    assert "fc._layer._fake_quant_input._scale" in state
    assert "alpha (clipped): " in (whole / "train.log").read_text()

    resume = [f"Global.output_dir={tmp_path}/resumed", f"Global.checkpoints={whole}/epoch_1"]
    assert call("train", config, *slim, *resume) == 0
    resumed = io.read_state(tmp_path / "resumed" / "CIFARResNet8" / "latest.pdparams")
    assert all(np.array_equal(state[key], resumed[key]) for key in state | resumed)

    weights = f"Global.pretrained_model={whole}/latest"
    metrics = tmp_path / "metrics.json"
    assert call("eval", config, *slim, weights, arguments=["--json", str(metrics)]) == 0
    assert 0 <= json.loads(metrics.read_text())["top1"] <= 1
    assert call("export_model", config, *slim, weights) == 0
    assert (tmp_path / "inference" / "inference.json").exists()
    answers = []
    for arguments in ((), ("--artifact", str(tmp_path / "inference"))):
        capsys.readouterr()
        assert call("infer", config, *slim, weights, arguments=arguments) == 0
        answers.append([json.loads(line)["scores"] for line in capsys.readouterr().out.splitlines()])
    np.testing.assert_allclose(*answers, atol=1e-3)

    capsys.readouterr()
    assert call("eval", config, "Slim.quant={name: pact, compat: paddleslim}", PRUNE, weights) == 2
    assert "Slim.quant.backend: the weights were made with 'paddleslim'" in capsys.readouterr().err
    float_again = [PRUNE, "Slim.quant=null", weights, f"Global.output_dir={tmp_path}/float", "Global.epochs=1"]
    assert call("train", config, *float_again) == 0
    assert "fc.weight" in io.read_state(tmp_path / "float" / "CIFARResNet8" / "latest.pdparams")


def test_without_paddleslim_training_ends_with_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "paddleslim", None)
    assert call("train", make_project(tmp_path), QUANT) == 2
    assert "Slim.quant.backend: paddleslim: cannot import PaddleSlim" in capsys.readouterr().err

import json

import numpy as np
from support.project import make_project

from ppcls_compress import io
from ppcls_compress.cli import main

SLIM = "Slim={prune: {name: fpgm, pruned_ratio: 0.3}, quant: {name: pact, placement: deploy}}"


def run(command, config, *overrides, arguments=()):
    assert main([command, "-c", str(config), *arguments, *(part for text in overrides for part in ("-o", text))]) == 0


def top1(config, tmp_path, *overrides):
    run("eval", config, *overrides, arguments=["--json", str(tmp_path / "metrics.json")])
    return json.loads((tmp_path / "metrics.json").read_text())["top1"]


def test_pruned_and_deploy_aware_training_resumes_evaluates_and_goes_back_to_float(tmp_path):
    config = make_project(tmp_path)
    run("train", config, "Global.epochs=1", f"Global.output_dir={tmp_path}/dense")
    start = [SLIM, "Global.epochs=2", f"Global.pretrained_model={tmp_path}/dense/CIFARResNet8/latest"]
    run("train", config, *start, f"Global.output_dir={tmp_path}/whole")
    resume = [*start[:-1], f"Global.checkpoints={tmp_path}/whole/CIFARResNet8/epoch_1"]
    run("train", config, *resume, f"Global.output_dir={tmp_path}/resumed")
    for part in ("pdparams", "pdopt"):
        whole, resumed = (
            io.read_state(f"{tmp_path}/{name}/CIFARResNet8/latest.{part}") for name in ("whole", "resumed")
        )
        assert whole.keys() == resumed.keys()
        assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    weights = f"Global.pretrained_model={tmp_path}/whole/CIFARResNet8/latest"
    record = json.loads((tmp_path / "whole/CIFARResNet8/latest.slim.json").read_text())
    assert record["steps"][1]["places"]
    assert top1(config, tmp_path, SLIM, weights) == top1(config, tmp_path, weights)
    float_again = ["Slim=null", "Global.epochs=1", f"Global.output_dir={tmp_path}/float"]
    run("train", config, *float_again, weights)
    trained = tmp_path / "float/CIFARResNet8/latest"
    kinds = [step["kind"] for step in json.loads(trained.with_suffix(".slim.json").read_text())["steps"]]
    assert kinds == ["prune", "fold"]
    top1(config, tmp_path, "Slim=null", f"Global.pretrained_model={trained}")
    progress = io.read_state(trained.with_suffix(".pdstates"))["progress"]
    assert json.loads((tmp_path / "metrics.json").read_text()).items() >= progress["metrics"].items()

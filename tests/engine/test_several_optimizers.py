"""A run with an optimizer for each part of the network: from the configuration to a resumed run."""

import numpy as np
import pytest
from support.commands import call, errors
from support.project import make_project

from ppcls_compress import io

PARTS = [
    {"Momentum": {"scope": "stem", "lr": {"name": "Cosine", "learning_rate": 0.05}}},
    {"AdamW": {"scope": r"blocks\..*", "weight_decay": 0.01, "lr": {"name": "Constant", "learning_rate": 0.01}}},
]
PLATEAU = "Optimizer.lr={name: ReduceOnPlateau, learning_rate: 0.05, mode: max, patience: 0, factor: 0.5}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = make_project(tmp_path_factory.mktemp("parts"), Optimizer=PARTS)
    assert call("train", config, "Global.epochs=3") == 0
    return config


def test_a_resumed_run_is_the_one_that_nothing_stopped(run, tmp_path, capsys):
    folder = run.parent / "output/CIFARResNet8"
    capsys.readouterr()
    start = f"Global.checkpoints={folder}/epoch_1"
    assert call("train", run, "Global.epochs=3", start, f"Global.output_dir={tmp_path}") == 0
    told = capsys.readouterr().err
    assert "are in no optimizer's scope, and stay as they are" in told
    assert "Global.checkpoints:" not in told
    for ending in ("pdparams", "pdopt"):
        whole, again = (io.read_state(f"{path}/latest.{ending}") for path in (folder, tmp_path / "CIFARResNet8"))
        assert whole.keys() == again.keys()
        for name, value in whole.items():
            parts = value.items() if isinstance(value, dict) else [(name, value)]
            for key, one in parts:
                other = again[name][key] if isinstance(value, dict) else again[name]
                assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other, (name, key)


def test_what_no_scope_has_stays_as_it_was(run):
    first, last = (io.read_state(run.parent / f"output/CIFARResNet8/epoch_{n}.pdparams") for n in (1, 3))
    moved = {name for name in first if not np.array_equal(first[name], last[name])}
    assert any(name.startswith("stem") for name in moved)
    assert any(name.startswith("blocks") for name in moved)
    assert not any(name.startswith("fc") for name in moved)


def test_other_optimizers_are_told(run, tmp_path, capsys):
    start = f"Global.checkpoints={run.parent}/output/CIFARResNet8/epoch_1"
    one = "Optimizer={name: SGD, lr: {learning_rate: 0.1}}"
    assert call("train", run, "Global.epochs=3", start, one, f"Global.output_dir={tmp_path}") == 2
    assert "epoch_1.pdopt is of 2 optimizers, and Optimizer has 1" in errors(capsys)[0]


def test_a_plateau_is_resumed_where_it_was(tmp_path, capsys):
    """Three classes of pictures are soon told apart, and then no evaluation is better than the one before."""
    config = make_project(tmp_path)
    common = [PLATEAU, "Global.epochs=6"]
    assert call("train", config, *common) == 0
    folder = tmp_path / "output/CIFARResNet8"
    start = f"Global.checkpoints={folder}/epoch_4"
    assert call("train", config, *common, start, f"Global.output_dir={tmp_path}/again") == 0
    whole, again = (io.read_state(f"{path}/latest.pdopt") for path in (folder, tmp_path / "again/CIFARResNet8"))
    assert whole["LR_Scheduler"] == again["LR_Scheduler"]
    assert whole["LR_Scheduler"]["watcher"]["rate"] < 0.05
    weights = [io.read_state(f"{path}/latest.pdparams") for path in (folder, tmp_path / "again/CIFARResNet8")]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])

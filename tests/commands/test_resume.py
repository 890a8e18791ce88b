"""Going on from a checkpoint when something has changed since, and when nothing is left to do."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.commands import call
from support.processes import PATIENCE
from support.project import make_project

from ppcls_compress import io
from ppcls_compress.config.load import load_config
from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.train import train
from ppcls_compress.stopping import Terminated

STOP = "Global.epochs=4"
CONSTANT = "Optimizer.lr={name: Piecewise, decay_epochs: [1, 2, 3], values: [0.4, 0.3, 0.2, 0.1]}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of four epochs, whose learning rate tells the epoch."""
    config = make_project(tmp_path_factory.mktemp("resume"))
    assert call("train", config, STOP, CONSTANT) == 0
    return config


def resumed(run, tmp_path, epoch, *overrides):
    checkpoint = f"Global.checkpoints={run.parent}/output/CIFARResNet8/epoch_{epoch}"
    return call("train", run, STOP, CONSTANT, checkpoint, f"Global.output_dir={tmp_path}", *overrides)


def rates(log):
    return [float(rate) for rate in re.findall(r"INFO epoch \d/\d: .*lr ([\d.]+)", log)]


def test_another_batch_size_keeps_the_schedule_in_its_epoch_and_is_told(run, tmp_path, capsys):
    capsys.readouterr()
    assert resumed(run, tmp_path, 2, "DataLoader.Train.sampler.batch_size=3") == 0
    log = capsys.readouterr().err
    # After the last step of an epoch the schedule stands at the next one.
    assert rates(log) == [0.1, 0.1]
    assert "Global.checkpoints: DataLoader.Train.sampler.batch_size was 8, is 3 now" in log
    assert "goes on after epoch 2, its learning rate with that of this epoch" in log
    states = io.read_state(tmp_path / "CIFARResNet8" / "latest.pdopt")
    assert states["LR_Scheduler"]["last_epoch"] == 4 * 24 // 3


def test_without_a_change_nothing_is_told_and_the_run_is_the_same(run, tmp_path, capsys):
    capsys.readouterr()
    assert resumed(run, tmp_path, 2) == 0
    assert "Global.checkpoints" not in capsys.readouterr().err
    whole, again = (
        io.read_state(f"{folder}/CIFARResNet8/latest.pdparams") for folder in (run.parent / "output", tmp_path)
    )
    assert all(np.array_equal(whole[name], again[name]) for name in whole)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("Optimizer.momentum=0.5", "Optimizer.momentum was 0.9, is 0.5 now"),
        ("Optimizer.lr={name: Constant, learning_rate: 0.1}", "Optimizer.lr.name was 'Piecewise', is 'Constant' now"),
        ("Loss.Train.0.CELoss.epsilon=0.1", "Loss.Train.0.CELoss.epsilon was None, is 0.1 now"),
        ("Global.update_freq=2", "Global.update_freq was 1, is 2 now"),
        (
            "DataLoader.Train.dataset.batch_transform_ops=[MixupOperator]",
            "DataLoader.Train.dataset.batch_transform_ops.0.MixupOperator.alpha was None, is 1.0 now",
        ),
    ],
)
def test_whatever_changes_the_run_is_told(run, tmp_path, capsys, override, told):
    capsys.readouterr()
    assert resumed(run, tmp_path, 3, override) == 0
    assert f"Global.checkpoints: {told}" in capsys.readouterr().err


def test_a_shorter_list_is_told(run, tmp_path, capsys):
    lines = (run.parent / "images/train_list.txt").read_text().splitlines()
    (tmp_path / "list.txt").write_text("\n".join(lines[:12]) + "\n")
    capsys.readouterr()
    assert resumed(run, tmp_path, 3, f"DataLoader.Train.dataset.cls_label_path={tmp_path}/list.txt") == 0
    assert "images in an epoch was 24, is 12 now" in capsys.readouterr().err


@pytest.mark.parametrize("epochs", [4, 2])
def test_a_finished_run_says_so_and_names_no_checkpoints_that_are_not_there(run, tmp_path, capsys, epochs):
    capsys.readouterr()
    assert resumed(run, tmp_path, 4, f"Global.epochs={epochs}") == 0
    log = capsys.readouterr().err
    assert f"epoch_4 is of a finished run: 4 epochs are trained, Global.epochs is {epochs}; nothing was done" in log
    assert "checkpoints are in" not in log
    assert "best: " in log
    assert f"there is no best_model of it in {tmp_path}" in log
    assert not list(tmp_path.rglob("*.pdparams"))


def test_a_finished_run_goes_on_with_more_epochs(run, tmp_path, capsys):
    capsys.readouterr()
    assert resumed(run, tmp_path, 4, "Global.epochs=5") == 0
    log = capsys.readouterr().err
    assert "Global.checkpoints: Global.epochs was 4, is 5 now" in log
    assert f"checkpoints are in {tmp_path}/CIFARResNet8" in log


def test_a_schedule_in_pieces_takes_no_notice_of_its_values_beside_a_rate_and_says_so(run, tmp_path, capsys):
    capsys.readouterr()
    rate = CONSTANT.replace("}", ", learning_rate: 0.05}")
    assert call("train", run, "Global.epochs=1", rate, f"Global.output_dir={tmp_path}") == 0
    log = capsys.readouterr().err
    assert "Optimizer.lr.values has no effect: learning_rate is given" in log
    assert rates(log) == [0.05]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_signal_to_the_group_saves_within_the_epoch_and_the_run_goes_on_to_the_same_weights(tmp_path, workers):
    """As Ctrl-C on a terminal, `timeout` and schedulers send it: to the workers too."""
    config = make_project(tmp_path)
    slow = [
        f"DataLoader.Train.loader.num_workers={workers}",
        "Global.epochs=9999",  # so that it never ends by itself
        "DataLoader.Train.sampler.batch_size=1",
    ]
    slow += [
        "Optimizer.lr={name: Constant, learning_rate: 0.01}",
        "Global.eval_during_train=False",
        "Global.save_interval=99",
    ]
    words = [sys.executable, "tools/train.py", "-c", str(config)]
    root = Path(__file__).parents[2]

    def overrides(*more):
        return [part for text in (*slow, *more) for part in ("-o", text)]

    command = [*words, *overrides(f"Global.output_dir={tmp_path}/run")]
    latest = tmp_path / "run" / "CIFARResNet8" / "latest"
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not Path(f"{latest}.pdstates").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopping: latest is saved after" in told
    progress = io.read_state(f"{latest}.pdstates")["progress"]
    until = f"Global.epochs={progress['epoch'] + 2}"
    assert call("train", config, *slow, f"Global.output_dir={tmp_path}/whole", until) == 0
    assert call("train", config, *slow, f"Global.output_dir={tmp_path}/run", until, f"Global.checkpoints={latest}") == 0
    whole, again = (io.read_state(f"{tmp_path}/{name}/CIFARResNet8/latest.pdparams") for name in ("whole", "run"))
    assert all(np.array_equal(whole[name], again[name]) for name in whole)


class StopAfterTheFirstBatch(Hook):
    def after_batch(self, trainer, batch):
        if batch.index == 0:
            os.kill(os.getpid(), signal.SIGTERM)  # which is looked at after the next one


@pytest.mark.parametrize(("size", "steps"), [(9, 2 * 3), (8, 2 + 2 * 3)])
def test_stopped_within_an_epoch_and_resumed_with_as_many_other_batches_the_epoch_begins_anew(
    run, tmp_path, size, steps
):
    overrides = ["Global.epochs=2", "DataLoader.Train.sampler.batch_size=9", f"Global.output_dir={tmp_path}/stopped"]
    with pytest.raises(Terminated):
        train(load_config(run, overrides), extra_hooks=[StopAfterTheFirstBatch()])
    latest = tmp_path / "stopped/CIFARResNet8/latest"
    assert io.read_state(f"{latest}.pdstates")["progress"]["batch"] == 2
    overrides[1:] = [f"DataLoader.Train.sampler.batch_size={size}", f"Global.output_dir={tmp_path}/resumed"]
    assert call("train", run, *overrides, f"Global.checkpoints={latest}") == 0
    progress = io.read_state(tmp_path / "resumed/CIFARResNet8/latest.pdstates")["progress"]
    assert (progress["epoch"], progress["step"]) == (2, steps)
    schedule = io.read_state(tmp_path / "resumed/CIFARResNet8/latest.pdopt")["LR_Scheduler"]
    assert schedule["last_epoch"] == 2 * 3

"""Jobs that die and are started again with the same command."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.commands import call, errors
from support.processes import PATIENCE, happens, runs
from support.project import make_project

from ppcls_compress import io

ROOT = Path(__file__).parents[2]


def states_of(folder):
    return [io.read_state(folder / f"CIFARResNet8/latest.{ending}") for ending in ("pdparams", "pdopt")]


def same(first, second):
    return all(np.array_equal(one[name], two[name]) for one, two in zip(first, second, strict=True) for name in one)


def test_resume_starts_a_run_and_goes_on_with_it(tmp_path, capsys):
    config = make_project(tmp_path)
    assert call("train", config, "Global.epochs=2", f"Global.output_dir={tmp_path}/whole") == 0
    again = ["Global.epochs=2", f"Global.output_dir={tmp_path}/again"]
    assert call("train", config, "Global.epochs=1", again[1], arguments=["--resume"]) == 0
    capsys.readouterr()
    assert call("train", config, *again, arguments=["--resume"]) == 0
    assert "Global.epochs was 1, is 2 now" in capsys.readouterr().err
    epochs = [
        io.read_state(tmp_path / f"{name}/CIFARResNet8/latest.pdstates")["progress"] for name in ("whole", "again")
    ]
    assert [found["step"] for found in epochs] == [6, 6]
    assert call("train", config, *again, arguments=["--resume"]) == 0
    assert "of a finished run" in capsys.readouterr().err


def test_resume_takes_the_place_of_weights_to_start_from(tmp_path):
    config = make_project(tmp_path)
    assert call("train", config, "Global.epochs=1", f"Global.output_dir={tmp_path}/first") == 0
    start = f"Global.pretrained_model={tmp_path}/first/CIFARResNet8/latest"
    for epochs in (1, 2):
        more = [start, f"Global.epochs={epochs}", f"Global.output_dir={tmp_path}/second"]
        assert call("train", config, *more, arguments=["--resume"]) == 0
    assert io.read_state(tmp_path / "second/CIFARResNet8/latest.pdstates")["progress"]["step"] == 6


def test_resume_and_a_checkpoint_contradict(tmp_path, capsys):
    config = make_project(tmp_path)
    assert call("train", config, "Global.checkpoints=x", arguments=["--resume"]) == 2
    assert "--resume: goes on from the run's own folder" in errors(capsys)[0]


def ranks_of(launcher):
    """The processes that a launcher started, by their command."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = (stat.parent / "cmdline").read_bytes().split(b"\0")
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == launcher and any(word.endswith(b"train.py") for word in words):
            found.append(stat)
    return found


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_job_and_the_same_command_goes_on(tmp_path):
    config = make_project(tmp_path)
    overrides = ["DataLoader.Train.sampler.batch_size=2", "Global.save_interval=0", "Global.seed=3"]
    overrides += ["Optimizer.lr={name: Constant, learning_rate: 0.01}"]  # whatever the number of epochs

    def launch(output, epochs):
        words = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--backend", "gloo"]
        words += ["--log_dir", str(tmp_path / "log"), str(ROOT / "tools" / "train.py"), "-c", str(config), "--resume"]
        texts = (*overrides, f"Global.epochs={epochs}", f"Global.output_dir={output}")
        words += [part for text in texts for part in ("-o", text)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)

    with launch(tmp_path / "run", 9999) as job:  # it never ends by itself
        while not (tmp_path / "run/CIFARResNet8/latest.pdstates").exists():
            assert job.poll() is None, job.stdout.read()
            time.sleep(0.1)
        found = ranks_of(job.pid)
        assert len(found) == 2
        os.kill(int(found[1].parent.name), signal.SIGKILL)
        told, _ = job.communicate(timeout=PATIENCE)
    assert job.returncode != 0
    assert happens(lambda: not any(runs(stat) for stat in found))
    assert re.search(r"rank=\[.*1\] was aborted", told), told
    epochs = io.read_state(tmp_path / "run/CIFARResNet8/latest.pdstates")["progress"]["epoch"] + 2
    for output in ("run", "whole"):
        with launch(tmp_path / output, epochs) as job:
            told, _ = job.communicate(timeout=PATIENCE)
        assert job.returncode == 0, told
    assert same(states_of(tmp_path / "run"), states_of(tmp_path / "whole"))

"""Exports that are stopped or killed while the artifact is compared, which runs in a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import PATIENCE, happens, runs
from support.project import make_project

EXPORT = """
import sys
from ppcls_compress import cli
from ppcls_compress.deploy import fresh

run = fresh.run_module
fresh.run_module = lambda module, *arguments, **options: run("comparing", *arguments, **options)
sys.exit(cli.main(sys.argv[1:]))
"""
COMPARING = "import os, pathlib, time; pathlib.Path({told!r}).write_text(str(os.getpid())); time.sleep(600)"


@pytest.fixture
def comparing(tmp_path):
    """An export whose comparison takes long, and the process that compares."""
    config = make_project(tmp_path / "project")
    (tmp_path / "temporary").mkdir()
    (tmp_path / "comparing.py").write_text(COMPARING.format(told=f"{tmp_path}/told"))
    paths = f"{Path(__file__).parents[2]}:{tmp_path}"
    environment = {**os.environ, "PYTHONPATH": paths, "TMPDIR": f"{tmp_path}/temporary"}
    words = ["export_model", "-c", config, "-o", f"Global.save_inference_dir={tmp_path}/inference"]
    command = [sys.executable, "-c", EXPORT, *words, "--synthetic-calibration"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert happens(lambda: (tmp_path / "told").exists() and (tmp_path / "told").read_text())
            assert list(tmp_path.glob("temporary/*/images.npy"))
            yield process, Path("/proc", (tmp_path / "told").read_text(), "stat")
        finally:
            process.kill()


def test_a_stopped_export_says_so_and_leaves_nothing(comparing, tmp_path):
    process, child = comparing
    process.terminate()
    _, told = process.communicate(timeout=PATIENCE)
    assert told.splitlines()[-1] == "stopped"
    assert process.returncode == 128 + signal.SIGTERM
    assert not list((tmp_path / "temporary").iterdir())
    assert not (tmp_path / "inference").exists()
    assert happens(lambda: not runs(child))


def test_what_a_killed_export_started_ends_and_cleans_up(comparing, tmp_path):
    process, child = comparing
    process.kill()
    assert happens(lambda: not runs(child))
    assert not list((tmp_path / "temporary").iterdir())


def test_what_ends_its_process_group_refuses_to_run_in_that_of_another(tmp_path):
    (tmp_path / "kept").mkdir()
    command = [sys.executable, "-m", "ppcls_compress.deploy.child", tmp_path / "kept", "this"]
    shell = ["sh", "-c", '"$@"; exit $?', "sh", *command]  # the leader of the group, which would be ended
    streams = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    done = subprocess.run(shell, **streams, text=True, cwd=Path(__file__).parents[2], start_new_session=True)
    assert done.returncode == 1
    assert "must be started as the leader of one" in done.stderr
    assert (tmp_path / "kept").exists()

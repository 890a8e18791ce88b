"""`compress` from the command line to the files: a contract that is kept, stopped, helped or refused."""

import json
from unittest import mock

import pytest
from support.commands import call, errors
from support.here import modules_run_here
from support.onnx_extras import needs_onnx
from support.project import make_project

from ppcls_compress.deploy import artifact, fresh
from ppcls_compress.search import owners, trial

pytest.importorskip("optuna")
pytestmark = [needs_onnx, pytest.mark.slow]

CONTRACT = "{max_drop: 100, target: {params: 0.6}, budget: {trials: 2, epochs: 1}}"


@pytest.fixture(autouse=True)
def here(monkeypatch):
    modules_run_here(monkeypatch)


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A project whose dense network is trained."""
    config = make_project(tmp_path_factory.mktemp("compress"))
    assert call("train", config, "Global.epochs=1") == 0
    return config


def compress(config, output, *arguments, auto=CONTRACT):
    """The exit code of a search in a folder of its own."""
    weights = f"Global.pretrained_model={config.parent}/output/CIFARResNet8/latest"
    return call("compress", config, weights, f"Global.output_dir={output}", f"Slim.auto={auto}", arguments=arguments)


def told(output):
    """What a search found, without times, and bytes: in one process they depend on the networks made before."""
    folder = output / "CIFARResNet8" / "compress"
    rows = json.loads((folder / "result" / "tried.json").read_text())
    chosen = json.loads((folder / "result" / "contract.json").read_text())["name"]
    return chosen, [{key: row[key] for key in row if key not in ("seconds", "bytes_share")} for row in rows]


def test_a_search_that_is_stopped_within_a_training_ends_as_one_that_is_not(dense, tmp_path, capsys, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert compress(dense, whole) == 0
    shown = capsys.readouterr().out
    chosen, rows = told(whole)
    assert all(row["name"] in shown for row in rows)
    for row in rows:
        found = artifact.load(whole / "CIFARResNet8" / "compress" / row["artifact"])
        assert found.description.params == pytest.approx(row["params_share"] * 74835)
        assert row["params_share"] <= 0.6

    run_module = fresh.run_module

    def interrupted(module, *arguments, **options):
        if module != trial.__name__:
            run_module(module, *arguments, **options)
            return
        with mock.patch.object(trial, "_export", side_effect=KeyboardInterrupt):
            trial.main(*arguments)

    with monkeypatch.context() as patch:  # after it was trained, in a process that runs no more
        patch.setattr(owners, "me", lambda: f"{owners._here()} 999999999 1")
        patch.setattr(fresh, "run_module", interrupted)
        assert compress(dense, stopped) == 130
    assert "stopped; the same command goes on" in capsys.readouterr().err
    assert compress(dense, stopped) == 0
    assert told(stopped) == (chosen, rows)
    monkeypatch.setattr(fresh, "run_module", None)  # nothing is trained any more
    assert compress(dense, stopped) == 0
    assert told(stopped) == (chosen, rows)
    assert compress(dense, stopped, "--worker") == 0
    assert "the search is over; 0 trainings were done here" in capsys.readouterr().err
    for arguments in ((), ("--worker",)):
        assert compress(dense, stopped, *arguments, auto=CONTRACT.replace("0.6", "0.7")) == 2
        assert "holds a search with other contract" in errors(capsys)[0]
    result = stopped / "CIFARResNet8" / "compress" / "result"
    assert compress(dense, stopped, auto=CONTRACT.replace("100", "99.5")) == 0  # and nothing was trained
    assert told(stopped) == (chosen, rows)
    assert json.loads((result / "contract.json").read_text())["max_drop"] == 99.5


def test_what_cannot_be_kept_is_refused_without_a_training_or_an_artifact(dense, tmp_path, capsys):
    auto = "{max_drop: 100, target: {params: 0.001}}"
    assert compress(dense, tmp_path, auto=auto) == 3
    assert "target.params: 0.001 is out of reach: pruning leaves" in errors(capsys)[0]
    folder = tmp_path / "CIFARResNet8" / "compress"
    assert not (folder / "trials").exists()
    assert not (folder / "result").exists()
    assert compress(dense, tmp_path, "--worker", auto=auto) == 0  # there is nothing to wait for


def test_an_export_says_that_it_searches_nothing(dense, tmp_path, capsys):
    overrides = [f"Slim.auto={CONTRACT}", f"Global.save_inference_dir={tmp_path}"]
    assert call("export_model", dense, *overrides, arguments=["--format", "onnx-ort"]) == 0
    assert "Slim.auto has no effect on an export: ppcls-compress compress searches" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("auto", "arguments", "expected"),
    [
        (CONTRACT.replace("{max", "{storage: nowhere, max"), (), "Slim.auto.storage: cannot be used: "),
        (CONTRACT, ("--worker",), "--worker: no search was begun in "),
        (CONTRACT, ("--profile", "none.json"), "--profile: none.json does not exist"),
        (CONTRACT.replace("{max", "{decide: none.txt, max"), (), "Slim.auto.decide"),
    ],
)
def test_what_a_user_may_get_wrong_is_a_line(dense, tmp_path, capsys, auto, arguments, expected):
    assert compress(dense, tmp_path, *arguments, auto=auto) == 2
    (line,) = errors(capsys)
    assert line.startswith(f"error: {expected}")

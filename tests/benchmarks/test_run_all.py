"""What `run_all.py` reads, keeps and tells, on what the scripts leave."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

import pytest
from support.processes import PATIENCE

from ppcls_compress import machine

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MODULES = ("peer_env", "run_all_rows", "run_all")


@pytest.fixture(scope="module")
def run_all():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("run_all")
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture
def place(run_all, tmp_path):
    peers = {"paddleslim": "/peers/paddleslim/bin/python", "torch-pruning": "/peers/torch/bin/python"}
    return run_all.Place(tmp_path, run_all.Peers(None, peers), False, None, None, None)


def row_of(run_all, name: str):
    return next(row for row in run_all.ROWS if row.name == name)


def figures(run_all, name: str, place, printed: str = "") -> dict[str, dict]:
    return {figure.what: figure.as_dict() for figure in row_of(run_all, name).read(place, printed)}


def test_ratios_of_pruning_are_of_medians(run_all, place):
    def runs(*totals):
        return [{"total": total, "cpu": 2 * total} for total in totals]

    found = {"ours": runs(0.1, 0.5, 0.2), "paddleslim": runs(3.0, 6.0, 4.0), "torch-pruning": runs(0.1, 0.1, 0.1)}
    place.json("prune").write_text(json.dumps({"runs": found}))
    told = figures(run_all, "prune", place)
    seconds = told["FPGM on ResNet50, seconds of paddleslim over ours"]
    assert (seconds["value"], seconds["aim"], seconds["kept"]) == (pytest.approx(20.0), ">= 20", "yes")
    assert told["FPGM on ResNet50, seconds of torch-pruning over ours"]["kept"] == "no"
    assert told["FPGM on ResNet50, processor time of paddleslim over ours"]["aim"] is None


def test_the_overhead_of_a_step_is_to_stay_below_its_aim(run_all, place):
    ratios = {"alpha": {"ratio": 1.05}, "moving_average": {"ratio": 1.2}, "paddleslim": {"ratio": 1.31}}
    told = list(figures(run_all, "qat", place, "a table\n" + json.dumps(ratios) + "\n").values())
    assert [(figure["aim"], figure["kept"]) for figure in told] == [("<= 1.06", "yes"), ("<= 1.1", "no")]
    assert "1.31" in told[0]["beside"]


@pytest.mark.parametrize(("kind", "kept"), [("int8_speed", 8), ("pruned_latency", 8), ("transforms_speed", 2)])
def test_results_that_the_scripts_left_are_read(run_all, place, kind, kept):
    name = {"int8_speed": "int8", "pruned_latency": "pruned", "transforms_speed": "data"}[kind]
    place.json(name).write_text((BENCHMARKS / "results" / f"{kind}.json").read_text())
    told = figures(run_all, name, place)
    assert len(told) == kept
    assert all(figure["aim"] and 0.5 < figure["value"] < 5 for figure in told.values())


def test_what_a_row_lacks_is_told_and_the_others_go_on(run_all, place, monkeypatch, tmp_path, capsys):
    with pytest.raises(run_all.Missing, match="--weights FILE and --pages DIR"):
        row_of(run_all, "calibration").arguments(place)
    with pytest.raises(run_all.Missing, match="--peers DIR, or --python nncf=PATH"):
        place.peers["nncf"]

    def run(row, place):
        if row.name == "prune":
            raise run_all.Missing("--peers DIR")
        if row.name == "qat":
            raise SystemExit("exit code 1")
        return {"quick": place.quick}

    monkeypatch.setattr(run_all, "run", run)
    args = argparse.Namespace(
        only=["prune", "qat", "data"], quick=False, again=False, out=tmp_path / "out" / "all.json"
    )
    kept: dict = {}
    assert run_all.run_rows(args, place, kept) == ["prune", "qat"]
    told = capsys.readouterr().err
    assert "prune: needs --peers DIR" in told
    assert "qat: exit code 1" in told
    assert json.loads(args.out.read_text()) == kept == {"data": {"quick": False}}


def test_finished_rows_are_not_run_again_and_quick_ones_are_replaced(run_all, place, monkeypatch, tmp_path):
    ran = []
    monkeypatch.setattr(run_all, "run", lambda row, place: ran.append(row.name) or {"quick": place.quick})
    args = argparse.Namespace(only=["prune", "qat"], quick=False, again=False, out=tmp_path / "all.json")
    kept = {"prune": {"quick": False}, "qat": {"quick": True}}
    run_all.run_rows(args, place, kept)
    assert ran == ["qat"]
    args.again = True
    run_all.run_rows(args, place, kept)
    assert ran == ["qat", "prune", "qat"]


def test_a_command_is_told_without_this_machines_paths(run_all, place):
    command = row_of(run_all, "prune").arguments(place)
    told = run_all.described(["benchmarks/prune_speed.py", *command], place)
    assert told == (
        "python benchmarks/prune_speed.py --paddleslim PEER/bin/python --torch-pruning PEER/bin/python --repeats 5 "
        "--out WORK/prune.json"
    )


def test_the_table_names_the_processor_the_aims_and_the_commands(run_all):
    figure = {"what": "speed", "value": 1.234, "aim": ">= 1.5", "kept": "no", "beside": "3 / 2"}
    row = {"processor": "A CPU", "cores": "2", "instructions": "AVX2", "quick": True, "figures": [figure]}
    text = run_all.table({"data": {**row, "command": "python it.py", "date": "2026-01-02", "seconds": 61.2}})
    assert "A CPU, cores: 2, instructions: AVX2" in text
    assert "| data (quick) | speed | 1.23 | >= 1.5 | no | 3 / 2 |" in text
    assert "data: `python it.py`, 2026-01-02, 61 s" in text


@pytest.mark.parametrize(
    ("given", "env", "expected"), [(None, {}, ""), ("5", {}, "5"), (None, {"MKL_DEBUG_CPU_TYPE": "4"}, "4")]
)
def test_a_peers_process_has_matrix_products_as_the_user_has_them(run_all, monkeypatch, given, env, expected):
    import common

    monkeypatch.setenv(machine.KERNELS, "7")  # as the package sets it where it is imported
    monkeypatch.setattr(common, "_GIVEN", given)
    tell = f"import json, os; print({common.RESULT_PREFIX!r} + json.dumps(os.environ.get({machine.KERNELS!r}, '')))"
    assert common.run_child([sys.executable, "-c", tell], timeout=PATIENCE, env=env) == (expected, "")

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def matrix():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("pruning_matrix", BENCHMARKS / "pruning_matrix.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in ("pruning_matrix", "pruning_cell", "paddleclas_zoo", "common"):
            sys.modules.pop(name, None)


GOOD = {
    "masked_error": 5e-7,
    "reload_error": 0.0,
    "export_error": 1e-7,
    "lazy_error": 1e-7,
    "plans_differ": False,
    "train_problem": "",
    "params": [100, 50],
}


def test_a_cell_is_known_by_its_key(matrix):
    for cell in matrix.cells():
        assert matrix.parse_cell(cell.key) == cell


def test_a_run_goes_on_after_a_line_that_a_kill_cut_off(matrix, tmp_path):
    path = tmp_path / "results.jsonl"
    lines = [{"cell": "a", "status": "fail"}, {"cell": "a", "status": "pass"}, {"cell": "b", "status": "fail"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"cell": "c", "stat')
    assert {key: found["status"] for key, found in matrix.read_results(path).items()} == {"a": "pass", "b": "fail"}
    matrix.append(path, {"cell": "c", "status": "pass"})
    assert matrix.read_results(path)["c"]["status"] == "pass"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"masked_error": 2e-5}, "masked_error 2.00e-05"),
        ({"masked_error": float("nan")}, "masked_error nan"),
        ({"reload_error": 1e-9}, "reload_error 1.00e-09"),
        ({"lazy_error": 2e-5}, "lazy_error 2.00e-05"),
        ({"plans_differ": True}, "lazy and cut plans differ"),
        ({"train_problem": "a step changed nothing"}, "a step changed nothing"),
        ({"params": [100, 100]}, "nothing was pruned"),
        ({"export_error": 1e-3}, "export_error 1.00e-03"),
        ({"export_error": 1e-3, "rounding": 2e-3}, "export_error 1.00e-03"),
    ],
)
def test_a_cell_passes_only_when_everything_holds(matrix, change, reason):
    assert matrix.judge({**GOOD, **change}) == reason


def test_masking_zeroes_what_is_not_kept(matrix):
    value = sys.modules["pruning_cell"].mask(np.ones((3, 4)), {"0": [0, 2], "1": [1]})
    assert value.tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]


def test_a_difference_is_relative_and_never_hides_a_nan(matrix):
    wanted = [np.array([0.0, 200.0])]
    assert sys.modules["pruning_cell"].difference([np.array([1.0, 200.0])], wanted) == pytest.approx(0.005)
    assert sys.modules["pruning_cell"].difference([np.array([np.nan, 200.0])], wanted) == float("inf")
    assert sys.modules["pruning_cell"].difference([np.zeros(3)], wanted) == float("inf")

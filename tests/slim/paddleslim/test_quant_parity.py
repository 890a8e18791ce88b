"""Our fake-quantized forward passes against PaddleSlim's: the installed one, a stand-in, and results that were kept."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from support.paddleslim import StandInQAT, live, pretend

ROOT = Path(__file__).parents[3]


def load_script():
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location("quant_parity", ROOT / "benchmarks" / "quant_parity.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = path
        sys.modules.pop("common", None)
    return module


parity = load_script()
CASES = {case.name: case for case in parity.cases()}
QUANTIZERS = {name: case for name, case in CASES.items() if not isinstance(case, parity.Network)}


@pytest.fixture(scope="module")
def kept():
    with np.load(ROOT / "tests" / "data" / "paddleslim_quant.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("name", CASES)
def test_forward_equals_paddleslims(name, monkeypatch):
    pretend(monkeypatch, QAT=StandInQAT)
    assert parity.difference(CASES[name].ours(), CASES[name].theirs()) <= parity.TARGET


@pytest.mark.parametrize("name", [name for name in CASES if name not in QUANTIZERS])
def test_forward_equals_that_of_the_installed_paddleslim(name):
    live()
    assert parity.difference(CASES[name].ours(), CASES[name].theirs()) <= parity.TARGET


@pytest.mark.parametrize("name", QUANTIZERS)
def test_forward_equals_what_paddleslim_gave(name, kept):
    ours = QUANTIZERS[name].ours()
    assert parity.difference(ours, [kept[f"{name}/{index}"] for index in range(len(ours))]) <= parity.TARGET


def test_nothing_else_was_kept(kept):
    assert {key.rpartition("/")[0] for key in kept} == set(QUANTIZERS)


def test_a_difference_is_found():
    assert parity.difference([np.ones(2), np.ones(2)], [np.ones(2), np.array([1.0, 2.0])]) == 0.5

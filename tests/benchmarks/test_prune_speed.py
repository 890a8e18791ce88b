"""How the growth of the cost of pruning is judged."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def speed():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("prune_speed")
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in ("prune_speed", "common"):
            sys.modules.pop(name, None)


def run(operators, cpu_build, masks="a"):
    seconds = {"build": cpu_build + 0.1, "prune": 0.2, "total": cpu_build + 0.3, "cpu": cpu_build + 0.2}
    return {**seconds, "cpu_build": cpu_build, "operators": operators, "masks": masks, "memory": 0.5, "macs_left": 0.5}


def test_the_largest_network_is_compared_per_operator_in_the_best_of_its_turns(speed):
    lines = speed.summarise_growth(
        {
            "ResNet18": [run(50, 0.5)],
            "ResNet50": [run(100, 0.3), run(100, 0.1)],
            "Large": [run(1000, 1.4), run(1000, 3)],
        }
    )
    assert lines[-1] == "Large takes 1.40 times as long to build per operator as ResNet50"
    assert lines[2].split() == ["ResNet50", "100", "0.200", "0.200", "0.400", "0.100", "0.300", "1.000", "1.00", "a"]


def test_without_resnet50_nothing_is_compared(speed):
    assert [line.split()[0] for line in speed.summarise_growth({"Large": [run(10, 1.0)]})] == ["network", "Large"]


def test_masks_that_change_from_turn_to_turn_are_no_result(speed):
    with pytest.raises(SystemExit, match="Large: the same request gave different masks"):
        speed.summarise_growth({"Large": [run(10, 1.0), run(10, 1.0, masks="b")]})


def test_a_hash_of_masks_tells_every_position(speed):
    class Mask:
        def __init__(self, dims, mask):
            self.dims, self.mask = dims, mask

    class Plan:
        def __init__(self, **masks):
            self.masks = {name: [Mask(dims, mask)] for name, (dims, mask) in masks.items()}

    plans = [Plan(a=(0, [1, 0])), Plan(a=(0, [0, 1])), Plan(a=(1, [1, 0])), Plan(b=(0, [1, 0]))]
    assert len({speed.hash_of(plan) for plan in plans}) == len(plans)
    assert speed.hash_of(Plan(a=(0, [1, 0]))) == speed.hash_of(plans[0])

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RIGHT = {
    "cell": "a:paddle2onnx:here",
    "network": "a",
    "converter": "paddle2onnx",
    "form": "here",
    "native": True,
    "runs": 20,
    "failed": 0,
    "reason": "",
    "files": 1,
    "norms": 3,
    "wrong_epsilons": 0,
    "difference": 1e-6,
    "seconds": 0.25,
}


@pytest.fixture(scope="module")
def converters():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("converters")
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in ("converters", "common"):
            sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"failed": 2, "reason": "knows none of it"}, "2 of 20 failed, knows none of it"),
        ({"difference": 0.25}, "wrong by 0.25 of the largest logit"),
        ({"difference": float("nan")}, "wrong by nan of the largest logit"),
        ({"difference": None, "reason": "does not load"}, "does not load"),
        ({"wrong_epsilons": 2}, "2 of 3 epsilons wrong"),
        ({"files": 4}, "4 different files in 20"),
    ],
)
def test_what_is_not_right_is_told_and_counted(converters, change, line):
    lines = list(converters.table([RIGHT, {**RIGHT, "network": "b", **change}]))
    assert lines[-1] == f"paddle2onnx, here: b: {line}"
    assert lines[2] == lines[3].replace("native", "all")
    counts = lines[2].split(" | ")[3:7]
    nothing = ["0", *["0 networks"] * 3]
    assert counts != nothing
    (clean,) = [text for text in converters.table([RIGHT]) if "all" in text]
    assert clean.split(" | ")[3:7] == nothing


def test_the_smallest_of_each_family_takes_part(converters):
    sizes = {"Net18": 50, "Net34": 40, "Net34_vd": 70, "Other_x0_5": 3, "Other_x1_0": 9}
    assert converters._smallest(sizes) == {"Net34", "Net34_vd", "Other_x0_5"}

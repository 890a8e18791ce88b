import json

import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.slim import record as compression

PRUNE = {"kind": "prune", "version": 1, "options": {}, "kept": {"conv.weight": {"0": [0, 2]}}, "attributes": []}
QUANT = {"kind": "quant", "version": 1, "options": {}, "quantized": ["conv"], "folded": [["conv", "bn"]], "custom": []}

FOLD = {"kind": "fold", "version": 1, "folded": [["conv", "bn"]], "biased": ["conv"]}


def steps(*steps):
    return {"version": 1, "steps": list(steps)}


def test_records_of_all_kinds_pass():
    rounded = {"layer": "conv", "nearest": 0.1, "learned": 0}
    quant = {**QUANT, "bits": {"conv": 4}, "reconstructed": [rounded]}
    assert compression.check(steps(quant), "a.slim.json") == steps(quant)
    record = json.loads(json.dumps(steps(FOLD, PRUNE, QUANT)))
    assert compression.check(record, "a.slim.json") is record
    assert compression.step_of(record, "quant") == QUANT
    assert compression.check(compression.empty_record(), "a.slim.json") == steps()


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ([1, 2], "expected an object, found [1, 2]"),
        ("x", "expected an object, found 'x'"),
        (None, "expected an object, found None"),
        ({}, "version None found, 1 is known here"),
        ({"version": 9, "steps": []}, "version 9 found, 1 is known here"),
        ({"version": 1}, "steps: expected a list, found None"),
        ({"version": 1, "steps": 3}, "steps: expected a list, found 3"),
        (steps(3), "steps[0]: expected an object, found 3"),
        (steps({}), "steps[0].kind: None found, allowed: prune, quant, fold"),
        (steps(PRUNE, {"kind": "foo"}), "steps[1].kind: 'foo' found, allowed: prune, quant, fold"),
        (steps({"kind": ["prune"]}), "steps[0].kind: ['prune'] found, allowed: prune, quant, fold"),
        (steps({**PRUNE, "version": 2}), "steps[0].version: 2 found, 1 is known here"),
        (steps({**PRUNE, "kept": [1]}), "steps[0].kept: expected {parameter: {axis: [indices of kept channels]}}"),
        (steps({**PRUNE, "kept": {"w": {"x": [1]}}}), "steps[0].kept: expected {"),
        (steps({**PRUNE, "kept": {"w": {"0": [-1]}}}), "steps[0].kept: expected {"),
        (steps({**PRUNE, "kept": {"w": {"0": [2**70]}}}), "steps[0].kept: expected {"),
        (steps({**PRUNE, "kept": {"w": {"9" * 5000: [0]}}}), "steps[0].kept: expected {"),
        (steps({**PRUNE, "attributes": [["a"]]}), "steps[0].attributes: expected a list of [layer, attribute, value]"),
        (steps({**QUANT, "options": None}), "steps[0].options: expected an object of options"),
        (steps({**QUANT, "folded": [["conv"]]}), "steps[0].folded: expected a list of [convolution, batch norm]"),
        (steps({**QUANT, "quantized": "conv"}), "steps[0].quantized: expected a list of names"),
        (steps({**FOLD, "merged": "conv"}), "steps[0].merged: expected a list of names"),
        (steps({**QUANT, "bits": ["conv"]}), "steps[0].bits: expected {layer: bits}"),
        (steps({**QUANT, "bits": {"conv": [8]}}), "steps[0].bits: expected {layer: bits}"),
        (steps({**QUANT, "reconstructed": [1]}), "steps[0].reconstructed: expected a list of objects with layer,"),
        (steps({**QUANT, "normed": 3}), "steps[0].normed: expected a list of names"),
        *[
            (steps({name: value for name, value in step.items() if name != key}), f"steps[0].{key} is missing")
            for step in (PRUNE, QUANT, FOLD)
            for key in step
            if key not in ("kind", "version")
        ],
    ],
)
def test_what_is_wrong_is_told_with_the_file(record, problem):
    with pytest.raises(UserError) as error:
        compression.check(record, "out/a.slim.json")
    text = str(error.value)
    assert text.startswith(f"out/a.slim.json: not a compression record: {problem}")
    assert "\n" not in text

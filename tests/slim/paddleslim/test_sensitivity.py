"""Sensitivity through PaddleSlim's pruners: saved as it goes, resumed, one file for all criteria."""

import json

import numpy as np
import pytest
from support.pruning import random_inputs, residual, score

from ppcls_compress.errors import UserError
from ppcls_compress.slim import FilterPruner, FPGMFilterPruner, L1NormFilterPruner, Status

SHAPE = [1, 3, 16, 16]


def test_sensitivity_is_saved_resumed_and_used(tmp_path):
    net, path = residual(), tmp_path / "sen.json"
    inputs = random_inputs([SHAPE])
    pruner = L1NormFilterPruner(net, SHAPE)
    calls, seen = [], []

    def evaluate():
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return score(net, inputs)

    with pytest.raises(KeyboardInterrupt):
        pruner.sensitive(evaluate, path)
    assert net.stem.weight.shape[0] == 16
    assert sum(map(len, json.loads(path.read_text())["sensitivities"].values())) == 6
    resumed = L1NormFilterPruner(net, SHAPE)
    table = resumed.sensitive(lambda: score(net, inputs), path, progress=seen.append)
    assert [p.done for p in seen] == list(range(7, 19))
    assert seen[-1].total == 18
    assert seen[-1].eta == 0
    assert {len(row) for row in table.values()} == {9}
    stem = net.stem.weight.name
    base = score(net, inputs)
    plan = resumed.prune_var(stem, 0, 0.3)
    assert table[stem][0.3] == pytest.approx((base - score(net, inputs)) / (base + 1e-3))
    plan.restore(net)
    assert L1NormFilterPruner(net, SHAPE, sen_file=path).sensitive() == table

    steady = {name: {round(0.1 * k, 1): 0.01 * k for k in range(1, 10)} for name in table}
    resumed.sensitive().clear()
    resumed.sensitive().update(steady)
    ratios, share = resumed.get_ratios_by_sensitivity(0.4)
    assert share == pytest.approx(0.4, abs=0.1)  # PaddleSlim's own search would stop at 0.97
    assert set(ratios) == set(table)
    plan = resumed.sensitive_prune(0.4, align=4)
    assert plan.pruned_flops == pytest.approx(0.4, abs=0.15)
    assert net.stem.weight.shape[0] % 4 == 0
    assert net.stem.weight.shape[0] < 16


def sensitivities(tmp_path, net, kind=L1NormFilterPruner, evaluate=lambda: 0.9, **arguments):
    return kind(net, SHAPE).sensitive(evaluate, tmp_path / "sen.json", **arguments)


def test_a_sensitivity_file_of_something_else_is_refused(tmp_path):
    net, file = residual(), tmp_path / "sen.json"
    sensitivities(tmp_path, net, about={"images": 64}, target_vars=["stem.weight"])
    text = file.read_text()
    source = json.loads(text)["source"]
    assert (source["criterion"], source["images"], source["base"]) == ("l1_norm", 64, 0.9)
    assert len(sensitivities(tmp_path, net, about={"images": 64})) == 2
    file.write_text(text)
    for says, change in {
        "images: measured with 64, now 128; remove the file": {"about": {"images": 128}},
        "base: measured with 0.9, now 0.8; remove the file": {"evaluate": lambda: 0.8},
    }.items():
        with pytest.raises(UserError, match=f"sen.json: {says}"):
            sensitivities(tmp_path, net, **change)
        assert file.read_text() == text
    net.stem.weight.set_value(net.stem.weight * 2)
    with pytest.raises(UserError, match=r"sen.json: weights: measured with [0-9a-f]{16}, now [0-9a-f]{16}"):
        sensitivities(tmp_path, net)
    with pytest.warns(UserWarning, match=r"sen.json: weights: measured with"):  # to be used, by the user's choice
        L1NormFilterPruner(net, SHAPE, sen_file=file)


def test_one_sensitivity_file_keeps_what_each_criterion_measured(tmp_path):
    net, file, inputs = residual(), tmp_path / "sen.json", random_inputs([SHAPE])

    def measured(kind, **arguments):
        return sensitivities(tmp_path, net, kind, lambda: score(net, inputs), **arguments)

    class Own(FilterPruner):
        def cal_mask(self, pruned_ratio, collection, num_head=-1):
            kept = np.arange(len(collection.units)) >= round(pruned_ratio * len(collection.units))
            return kept.astype("int32")

    kinds = (L1NormFilterPruner, FPGMFilterPruner, Own)
    alone = {}
    for kind in kinds:
        alone[kind] = measured(kind)
        file.unlink()
    for kind in kinds:
        assert measured(kind, target_vars=["stem.weight"]) == {net.stem.weight.name: alone[kind][net.stem.weight.name]}
    for kind in kinds:  # the other layer is measured now, and each file entry goes on by itself
        assert measured(kind) == alone[kind]
    text = file.read_text()
    asked = []
    for kind in kinds:
        assert kind(net, SHAPE).sensitive(lambda: asked.append(1), file) == alone[kind]
        assert kind(net, SHAPE, sen_file=file).sensitive() == alone[kind]
    assert not asked
    assert file.read_text() == text
    assert len({str(table) for table in alone.values()}) == 3
    assert Status(file, "fpgm").sensitivies == alone[FPGMFilterPruner]
    with pytest.raises(UserError, match=r"sen.json: holds sensitivities by l1_norm, fpgm, Own; say whose to take"):
        Status(file)


def test_sensitivities_by_another_criterion_are_used_with_a_warning_and_not_lost(tmp_path):
    net, file = residual(), tmp_path / "sen.json"
    first = sensitivities(tmp_path, net)
    with pytest.warns(UserWarning, match="criterion: measured with l1_norm, now fpgm"):
        pruner = FPGMFilterPruner(net, SHAPE, sen_file=file)
    assert pruner.sensitive() == first
    pruner.sensitive(lambda: 0.8, file)
    assert Status(file, "l1_norm").sensitivies == first
    assert Status(file, "fpgm").source["base"] == 0.8


def test_a_file_that_is_none_of_sensitivities_is_not_overwritten(tmp_path):
    (tmp_path / "sen.json").write_text("[1, 2]")
    with pytest.raises(UserError, match=r"sen.json: not a sensitivity file"):
        Status().save(tmp_path / "sen.json")
    assert (tmp_path / "sen.json").read_text() == "[1, 2]"


def test_a_sensitivity_file_that_does_not_tell_is_taken_with_a_warning(tmp_path):
    net, file = residual(), tmp_path / "sen.json"
    file.write_text(json.dumps({"sensitivities": {net.stem.weight.name: {"0.1": 0.5}}}))
    with pytest.warns(UserWarning, match="sen.json: does not tell what was measured; its numbers are taken as they"):
        table = sensitivities(tmp_path, net)
    assert table[net.stem.weight.name][0.1] == 0.5
    assert "criterion" not in json.loads(file.read_text())["source"]

import math
import pickle
import sys
from types import ModuleType

import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.slim import Status
from ppcls_compress.slim.prune.sensitivity import aligned_ratio, bisect, ratios_by_loss

TABLE = {"a": {0.1: 0.0, 0.2: 0.1, 0.3: 0.3}, "b": {0.1: 0.5, 0.2: 0.6}}


def test_status_is_json_that_comes_back(tmp_path):
    status = Status()
    status.sensitivies, status.is_ckp = TABLE, False
    status.save(tmp_path / "s.json")
    assert (tmp_path / "s.json").read_text().startswith("{")
    back = Status(tmp_path / "s.json")
    assert (back.sensitivies, back.is_ckp) == (TABLE, False)


def old_pickle(path, monkeypatch, name="Status", **attributes):
    """A file as PaddleSlim's `Status.save` writes it."""
    module = "paddleslim.dygraph.prune.filter_pruner"
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
    kind = type(name, (), {"__module__": module})
    setattr(sys.modules[module], name, kind)
    value = kind()
    vars(value).update(attributes)
    path.write_bytes(pickle.dumps(value))


def test_old_pickle_is_read_as_data(tmp_path, monkeypatch):
    old_pickle(tmp_path / "s.data", monkeypatch, sensitivies=TABLE, accumulates={}, is_ckp=False)
    status = Status(tmp_path / "s.data")
    assert (status.sensitivies, status.is_ckp) == (TABLE, False)


def test_other_pickles_are_refused(tmp_path, monkeypatch):
    old_pickle(tmp_path / "s.data", monkeypatch, name="Other")
    with pytest.raises(UserError, match=r"s.data: refused: it names paddleslim.dygraph.prune.filter_pruner.Other"):
        Status(tmp_path / "s.data")
    (tmp_path / "t.data").write_bytes(b"\x80\x04nonsense")
    with pytest.raises(UserError, match=r"t.data: truncated or damaged"):
        Status(tmp_path / "t.data")
    (tmp_path / "u.json").write_text('{"sensitivities": {"a": [1]}}')
    with pytest.raises(UserError, match=r"u.json: not a sensitivity file"):
        Status(tmp_path / "u.json")


def test_ratio_where_the_loss_reaches_the_bound():
    assert ratios_by_loss(TABLE, 0.1) == {"a": 0.2}
    assert ratios_by_loss(TABLE, 0.2) == {"a": pytest.approx(0.25)}
    assert ratios_by_loss(TABLE, 0.9) == {"a": 0.3, "b": 0.2}
    assert ratios_by_loss(TABLE, 0.9, skip=["a"]) == {"b": 0.2}


@pytest.mark.parametrize(
    ("size", "ratio", "wanted"), [(64, 0.3, 16 / 64), (10, 0.9, 0.2), (6, 0.5, 0.0), (20, 0.0, 4 / 20)]
)
def test_aligned_ratio_keeps_a_multiple(size, ratio, wanted):
    assert aligned_ratio(size, ratio, 8) == pytest.approx(wanted)


def test_bisection_finds_the_bound():
    line = {"a": {round(0.1 * k, 1): 0.1 * k for k in range(1, 10)}}
    ratios, removed = bisect(line, 0.33, lambda ratios: ratios.get("a", 0.0) / 2)
    assert removed == pytest.approx(0.33, abs=1e-3)
    assert ratios["a"] == pytest.approx(0.66, abs=2e-3)


def test_patience_looks_past_a_share_that_comes_back():
    steps = {"a": {0.1: 0.001, 0.5: 0.9}, "b": {0.1: 0.01, 0.9: 0.011}}

    def removed(ratios):  # whole channels, so that many bounds remove the same share
        return round(10 * ratios.get("a", 0.0)) / 20 + round(10 * ratios.get("b", 0.0)) / 20

    shares = {patient: bisect(steps, 0.2, removed, patient=patient)[1] for patient in (True, False)}
    assert abs(shares[True] - 0.2) < abs(shares[False] - 0.2)


@pytest.mark.parametrize("target", [0.2, 0.24, 0.31, 0.44])
def test_a_target_that_must_be_reached_is_not_missed_for_a_nearer_share_below_it(target):
    line = {"a": {round(0.1 * k, 1): 0.1 * k for k in range(1, 10)}}

    def removed(ratios):  # whole channels
        return round(10 * ratios.get("a", 0.0)) / 20

    _, nearest = bisect(line, target, removed)
    _, reached = bisect(line, target, removed, reach=True)
    assert reached == pytest.approx(math.ceil(20 * target - 1e-9) / 20)
    assert abs(nearest - target) <= abs(reached - target)


ROW = [round(0.1 * step, 1) for step in range(1, 10)]


@pytest.mark.parametrize(
    ("table", "target"),
    [
        ({"a": dict.fromkeys(ROW, -0.01), "b": {ratio: ratio**2 for ratio in ROW}}, 0.3),
        ({"a": {ratio: -ratio for ratio in ROW}, "b": {ratio: -0.1 * ratio for ratio in ROW}}, 0.3),
        ({"a": dict.fromkeys(ROW, 0.05), "b": dict.fromkeys(ROW, 0.05)}, 0.4),
        ({"a": {ratio: 1 + ratio for ratio in ROW}, "b": {ratio: 3 * ratio for ratio in ROW}}, 0.5),
        ({"a": dict.fromkeys(ROW, 2.0), "b": dict.fromkeys(ROW, 2.0)}, 0.6),
    ],
    ids=["one gains", "all gain", "flat", "above one", "flat above one"],
)
def test_targets_are_met_whatever_the_losses(table, target):
    ratios, removed = bisect(table, target, lambda ratios: sum(ratios.values()) / 2)
    assert removed == pytest.approx(target, abs=0.01)
    assert sum(ratios.values()) / 2 == removed

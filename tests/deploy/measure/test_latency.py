import os

import pytest

from ppcls_compress.deploy import artifact
from ppcls_compress.deploy.measure import latency
from ppcls_compress.errors import UserError


@pytest.fixture
def broken(tmp_path):
    """An artifact that is complete by its description, and whose network files hold no network."""
    for name in ("inference.json", "inference.pdiparams"):
        (tmp_path / name).write_text("nothing")
    artifact.write_description(tmp_path, artifact.Description((3, 4, 4)))
    return tmp_path


def test_a_network_that_does_not_load_is_named(broken):
    with pytest.raises(UserError, match="^bad: (failed|crashed)"):
        latency.measure({"bad": broken}, [1, 3, 4, 4], rounds=1)


def test_more_threads_than_cores_are_refused_before_anything_runs(broken):
    count = len(os.sched_getaffinity(0)) + 1
    with pytest.raises(UserError, match=rf"^{count} threads: this process may use only {count - 1} cores"):
        latency.measure({"bad": broken}, [1, 3, 4, 4], threads=count)


def timed(monkeypatch, processes):
    """`measure` of models whose processes take these milliseconds, one group after the other."""
    groups = iter(processes)
    monkeypatch.setattr(
        latency,
        "_in_turns",
        lambda wanted, *_: {
            name: latency.Latency(taken, 2 * taken, 1000 / taken, 7)
            for name, taken in zip(wanted, next(groups), strict=True)
        },
    )
    return latency.measure({"one": "a", "other": "b"}, [1, 3, 4, 4], rounds=90)


def test_the_process_in_the_middle_counts(monkeypatch):
    found = timed(monkeypatch, [(1.0, 2.0), (1.2, 2.0), (1.0, 2.0)])  # one of them has its memory in a bad place
    assert found["one"].median_ms == pytest.approx(1.0)
    assert found["other"].median_ms == pytest.approx(2.0)
    assert found["one"].p90_ms == pytest.approx(2.0)
    assert found["one"].images_per_second == pytest.approx(1000)


def test_what_the_machine_does_beside_falls_on_all_alike(monkeypatch):
    found = timed(monkeypatch, [(1.0, 2.0), (3.0, 6.6), (9.0, 18.0)])
    assert found["other"].median_ms / found["one"].median_ms == pytest.approx(2.0)
    assert found["one"].median_ms == pytest.approx(3.0, rel=0.06)


def test_no_rounds_are_refused(broken):
    with pytest.raises(UserError, match="rounds: at least 1 is needed, found 0"):
        latency.measure({"bad": broken}, [1, 3, 4, 4], rounds=0)


@pytest.mark.parametrize(("rounds", "expected"), [(1, [1]), (6, [1, 1]), (20, [3, 3, 3])])
def test_rounds_are_shared_by_the_processes(broken, monkeypatch, rounds, expected):
    asked = []
    monkeypatch.setattr(
        latency, "_in_turns", lambda *given: asked.append(given[-1]) or {"one": latency.Latency(1.0, 1.0, 1.0, 1)}
    )
    latency.measure({"one": broken}, [1, 3, 4, 4], rounds=rounds)
    assert asked == expected

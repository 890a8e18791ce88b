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


def test_the_process_in_the_middle_counts(broken, monkeypatch):
    def in_turns(wanted, shape, cores, turns):
        asked.append(turns)
        slow = len(asked) == 2  # by where its memory lies
        return {
            name: latency.Latency(1.2 if slow else 1.0, 2.0, 800.0 if slow else 1000.0, len(asked)) for name in wanted
        }

    asked = []
    monkeypatch.setattr(latency, "_in_turns", in_turns)
    found = latency.measure({"one": broken, "other": broken}, [1, 3, 4, 4], rounds=90)
    assert found == {name: latency.Latency(1.0, 2.0, 1000.0, 3) for name in ("one", "other")}
    assert asked == [10, 10, 10]


@pytest.mark.parametrize(("rounds", "expected"), [(1, [1]), (6, [1, 1]), (20, [3, 3, 3])])
def test_rounds_are_shared_by_the_processes(broken, monkeypatch, rounds, expected):
    asked = []
    monkeypatch.setattr(
        latency, "_in_turns", lambda *given: asked.append(given[-1]) or {"one": latency.Latency(1.0, 1.0, 1.0, 1)}
    )
    latency.measure({"one": broken}, [1, 3, 4, 4], rounds=rounds)
    assert asked == expected

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

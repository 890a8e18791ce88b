import os
import subprocess
import sys

import pytest

from ppcls_compress.search import owners


def test_a_process_runs_until_it_ended():
    code = "from ppcls_compress.search import owners; print(owners.me())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert owners.ended(done.stdout.strip())
    assert not owners.ended(owners.me())


def test_another_process_with_the_number_of_one_that_ended_is_not_that_one():
    place, process, start = owners.me().split(" ")
    assert owners.ended(f"{place} {process} {int(start) - 1}")


@pytest.mark.parametrize("owner", ["", "elsewhere 17 4711"])
def test_nothing_is_known_of_processes_elsewhere(owner):
    assert not owners.ended(owner)


def test_containers_of_one_name_have_numbers_of_their_own(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "readlink", lambda _: "pid:[1]")
        _, rest = owners.me().split(" ", 1)
        elsewhere = f"{owners._here()} 999999999 1"
    assert not owners.ended(elsewhere)
    assert owners.ended(f"{owners._here()} 999999999 1")
    assert rest == owners.me().split(" ", 1)[1]

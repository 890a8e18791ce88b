import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from support.processes import PATIENCE, happens, runs

from ppcls_compress.deploy.nursery import Nursery
from ppcls_compress.errors import UserError

seen = []


def note(path, value):
    seen.append(value)
    Path(path).write_text(f"{os.getpid()} {os.getppid()} {seen}")


def fail():
    raise ValueError("no such thing")


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def hold(path):
    nursery = Nursery()
    part = Path(f"{path}.part")
    part.write_text(str(nursery._process.pid))
    part.rename(path)
    time.sleep(2 * PATIENCE)


def test_each_call_is_in_a_process_of_its_own_that_knows_of_no_other(tmp_path):
    with Nursery() as nursery:
        for value in ("first", "second"):
            nursery.run(note, tmp_path / value, value)
    told = [(tmp_path / value).read_text().split(" ", 2) for value in ("first", "second")]
    assert [found for _, _, found in told] == ["['first']", "['second']"]
    assert seen == []
    assert len({told[0][0], told[1][0], str(os.getpid())}) == 3
    assert told[0][1] == told[1][1] != str(os.getpid())


def test_errors_and_crashes_are_told_and_the_next_call_runs(tmp_path):
    with Nursery() as nursery:
        with pytest.raises(UserError, match=r"test_nursery: failed: ValueError: no such thing"):
            nursery.run(fail)
        with pytest.raises(UserError, match=r"test_nursery: crashed with SIGSEGV"):
            nursery.run(crash)
        nursery.run(note, tmp_path / "third", "third")
    assert (tmp_path / "third").exists()


def test_that_it_has_ended_is_told(tmp_path):
    with Nursery() as nursery:
        nursery._process.kill()
        nursery._process.join()
        with pytest.raises(UserError, match="test_nursery: the process that it is forked from has ended"):
            nursery.run(note, tmp_path / "never", "never")


def test_that_it_has_ended_before_it_read_what_it_is_asked_is_told(tmp_path):
    with Nursery() as nursery:
        os.kill(nursery._process.pid, signal.SIGSTOP)
        nursery._connection.send("what it is asked")
        nursery._process.kill()
        nursery._process.join()
        nursery._connection.send = lambda request: None  # it was sent
        with pytest.raises(UserError, match="test_nursery: the process that it is forked from has ended"):
            nursery.run(note, tmp_path / "never", "never")


def test_it_ends_with_the_process_that_made_it(tmp_path):
    maker = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path / "pid",))
    maker.start()
    try:
        assert happens((tmp_path / "pid").exists)
    finally:
        maker.kill()
        maker.join()
    started = Path("/proc", (tmp_path / "pid").read_text(), "stat")
    assert happens(lambda: not runs(started))

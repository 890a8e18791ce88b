import subprocess
import sys
import threading
import traceback

import pytest
from support.processes import PATIENCE

pytest.importorskip("optuna")

from ppcls_compress.errors import ConfigError, MissingDependencyError, UserError
from ppcls_compress.search import board as board_module
from ppcls_compress.search import storages
from ppcls_compress.search.board import FAILED, MOST_TRIES, Board


@pytest.fixture(params=["sqlite:///{}/study.db", "{}/study.journal"])
def storage(request, tmp_path):
    return request.param.format(tmp_path)


def put(board, *names):
    for name in names:
        board.put(name, {"title": name}, {}, {})


def test_jobs_are_taken_once_in_their_order_and_finished(storage):
    board, other = Board(storage, "one"), Board(storage, "one")
    put(board, "a", "b")
    put(board, "a")
    first, second = board.take(), other.take()
    assert (first.name, second.name, board.take()) == ("a", "b", None)
    board.finish(first, {"drop": {"points": 1.5}})
    other.finish(second, {"failed": "no"})
    assert [(job.state, dict(job.result)) for job in Board(storage, "one").jobs()] == [
        ("done", {"drop": {"points": 1.5}}),
        ("done", {"failed": "no"}),
    ]
    assert [trial.value for trial in board._study.get_trials()] == [1.5, FAILED]


@pytest.mark.parametrize("storage", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_serves_one_process(storage):
    board = Board(storage, "one")
    put(board, "a")
    assert board.finish(board.take(), {"failed": "no"})
    assert [job.state for job in board.jobs()] == ["done"]


def test_between_reading_of_a_job_and_taking_it_nobody_else_takes_it(tmp_path, monkeypatch):
    optuna, event = pytest.importorskip("optuna"), pytest.importorskip("sqlalchemy.event")
    monkeypatch.setattr(storages, "_BUSY", 0.0)
    board, other = (Board(f"sqlite:///{tmp_path}/study.db", "one") for _ in range(2))
    put(board, "a")
    (job,) = other.jobs()
    refused = []

    def read(*_):
        if not refused:
            with pytest.raises(optuna.exceptions.StorageInternalError) as told:
                other._claimed(job)
            refused.append(told)

    event.listen(board._storage.engine, "after_cursor_execute", read)
    assert board.take().name == "a"
    assert refused
    assert other.take() is None


def test_a_database_in_which_others_make_the_same_tables_is_opened_again(tmp_path, monkeypatch):
    real, told = storages._opened, ["table studies already exists", "table trials already exists"]

    def opened(storage):
        if told:
            raise RuntimeError(told.pop(0))
        return real(storage)

    monkeypatch.setattr(storages, "_PAUSE", 0.0)
    monkeypatch.setattr(storages, "_opened", opened)
    put(Board(f"sqlite:///{tmp_path}/study.db", "one"), "a")
    assert told == []


def test_what_a_dead_process_had_taken_is_put_up_again(tmp_path):
    storage = f"{tmp_path}/study.journal"
    put(Board(storage, "one"), "a")
    code = "import sys; from ppcls_compress.search.board import Board; print(Board(sys.argv[1], 'one').take().name)"
    done = subprocess.run([sys.executable, "-c", code, storage], capture_output=True, text=True, check=True)
    assert done.stdout == "a\n"
    board = Board(storage, "one")
    assert board.take() is None
    assert board.retry_lost() == []
    again = board.take()
    assert (again.name, again.tries) == ("a", 1)
    assert board.retry_lost() == []  # this process lives
    assert [job.state for job in board.jobs()] == ["running"]


def test_a_worker_elsewhere_that_says_nothing_loses_its_job_and_no_more_than_so_often(tmp_path):
    board, clock = Board(f"{tmp_path}/study.journal", "one"), [0.0]
    put(board, "a")
    for tries in range(MOST_TRIES):
        job = board.take()
        board._set(job, "owner", "elsewhere 17 4711")
        board._set(job, "beat", 1)
        assert board.retry_lost(patience=60, now=lambda: clock[0]) == []
        clock[0] += 59
        assert board.retry_lost(patience=60, now=lambda: clock[0]) == []
        board._set(job, "beat", 2)
        clock[0] += 59
        assert board.retry_lost(patience=60, now=lambda: clock[0]) == []
        clock[0] += 61
        given_up = board.retry_lost(patience=60, now=lambda: clock[0])
        assert [item.name for item in given_up] == (["a"] if tries == MOST_TRIES - 1 else [])
    board.finish(given_up[0], {"failed": "its worker ended 3 times"})
    assert board.take() is None


def test_a_result_that_comes_too_late_changes_nothing(tmp_path):
    board = Board(f"{tmp_path}/study.journal", "one")
    put(board, "a")
    late = board.take()
    board._set(late, "owner", "elsewhere 17 4711")
    board.retry_lost(patience=-1)
    assert board.finish(late, {"drop": {"points": 9.0}}) is False
    (job,) = board.jobs()
    assert (job.state, job.result) == ("waiting", None)


def test_a_silent_worker_is_told_that_its_job_was_taken_over_and_shares_no_folder_with_who_has_it(tmp_path):
    board = Board(f"{tmp_path}/study.journal", "one")
    put(board, "a")
    silent = board.take()
    board._set(silent, "owner", "elsewhere 17 4711")
    with board.alive(silent, every=0.01) as lost:
        board.retry_lost(patience=-1)
        assert lost.wait(PATIENCE)
    again = board.take()
    assert (silent.folder, again.folder) == ("a", "a.0")
    assert again.what == silent.what
    assert board.finish(again, {"failed": "No space left on device", "passing": True})
    assert board.retry_passing() == ["a"]
    assert board.take().folder == "a.0"  # what is there already is gone on from


def test_a_worker_that_keeps_its_job_is_told_nothing(tmp_path, monkeypatch):
    board, twice = Board(f"{tmp_path}/study.journal", "one"), threading.Event()
    put(board, "a")
    job, kept = board.take(), board._set

    def told(job, key, value):
        kept(job, key, value)
        if (key, value) == ("beat", 2):
            twice.set()

    monkeypatch.setattr(board, "_set", told)
    with board.alive(job, every=0.01) as lost:
        assert twice.wait(PATIENCE)
    assert not lost.is_set()
    assert board.jobs()[0].beat >= 2
    assert board.finish(job, {"failed": "no"}) is True


def test_a_storage_that_is_away_for_a_moment_is_asked_again_and_then_told_of(tmp_path, monkeypatch):
    found = Board(f"sqlite:///{tmp_path}/study.db", "one")
    monkeypatch.setattr(board_module, "AGAIN", 0.0)
    asked = []

    def away(times):
        def get_trials(**_):
            asked.append(1)
            if len(asked) <= times:
                raise found.away[0]("server closed the connection")
            return []

        return get_trials

    monkeypatch.setattr(found._study, "get_trials", away(3))
    assert found.jobs() == []
    assert len(asked) == 4
    monkeypatch.setattr(board_module, "PATIENCE", -1)
    monkeypatch.setattr(found._study, "get_trials", away(9))
    with pytest.raises(UserError, match="storage: does not answer: .*closed the connection; the same command goes on"):
        found.jobs()


@pytest.mark.parametrize(
    "url", ["postgresql://me:s3%20cret@host/db", "postgresql://host/db?user=me&password=s3%20cret"]
)
def test_no_message_about_a_storage_tells_its_password(url, monkeypatch):
    def refused(storage):
        raise RuntimeError(f"cannot parse {storage} with 's3 cret'")

    monkeypatch.setattr(storages, "_opened", refused)
    with pytest.raises(ConfigError) as told:
        Board(url, "one")
    text = "".join(traceback.format_exception(told.value))
    assert "***" in str(told.value)
    assert "cret" not in str(told.value)
    assert "cret" not in text


def test_a_driver_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(
        MissingDependencyError, match="driver of this database, psycopg2, .* pip install psycopg2-binary"
    ):
        Board("postgresql+psycopg2://me@host/db", "one")


def test_a_storage_that_there_is_not_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"^Slim.auto.storage: cannot be used: .*study.journal$"):
        Board(f"sqlite:///{tmp_path}/missing/study.db", "one")

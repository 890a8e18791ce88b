import logging
from pathlib import Path

import pytest

from ppcls_compress.engine.logs import logger, logging_to, reporting
from ppcls_compress.errors import UserError


def test_messages_are_in_the_file(tmp_path):
    with logging_to(tmp_path / "run"):
        logger.info("hello")
    assert "INFO hello" in (tmp_path / "run" / "train.log").read_text()


@pytest.mark.parametrize(("verbose", "expected"), [(True, ["detail", "hello"]), (False, ["hello"])])
def test_details_are_told_when_asked_for(verbose, expected, capsys):
    with logging_to(verbose=verbose):
        logging.getLogger("ppcls_compress.deploy").debug("detail")
        logger.info("hello")
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == expected


def test_a_log_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "train.log").mkdir()
    before = list(logger.handlers), logger.level
    with pytest.raises(UserError, match="file: cannot be made a folder: File exists"), logging_to(tmp_path / "file"):
        pass
    with pytest.raises(UserError, match=r"train\.log: cannot be written: Is a directory"), logging_to(tmp_path):
        pass
    assert (list(logger.handlers), logger.level) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(tmp_path, capfd):
    (tmp_path / "train.log").symlink_to("/dev/full")
    before = list(logger.handlers), logger.level, logger.propagate
    with (
        pytest.raises(UserError, match=r"train\.log: cannot be written: No space left on device$"),
        logging_to(tmp_path),
    ):
        logger.info("hello")
    assert (list(logger.handlers), logger.level, logger.propagate) == before
    assert "Traceback" not in capfd.readouterr().err
    assert not any(isinstance(handler, logging.FileHandler) for handler in logger.handlers)


def failing(opened, meanwhile, error):
    with opened:
        meanwhile()
        raise error


@pytest.mark.parametrize("error", [UserError("no such list"), KeyboardInterrupt()])
@pytest.mark.parametrize("kind", ["log", "json"])
def test_what_fails_before_a_line_is_written_leaves_nothing(tmp_path, kind, error):
    (tmp_path / "output").mkdir()
    folder = tmp_path / "output" / "run" / "first"
    opened = logging_to(folder) if kind == "log" else reporting(json_log=folder / "train.log")
    seen = []
    with pytest.raises(type(error)):
        failing(opened, lambda: seen.append((folder / "train.log").exists()), error)
    assert seen == [True]
    assert [*tmp_path.rglob("*")] == [tmp_path / "output"]


def test_what_was_there_or_was_written_meanwhile_stays(tmp_path):
    folder, error = tmp_path / "run", UserError("no such list")
    log, weights = folder / "train.log", folder / "latest.pdparams"
    with pytest.raises(UserError):
        failing(logging_to(folder), lambda: weights.write_text("weights"), error)
    assert [*folder.iterdir()] == [weights]
    with pytest.raises(UserError):
        failing(logging_to(folder), lambda: logger.info("hello"), error)
    assert "INFO hello" in log.read_text()
    log.write_text("")
    with pytest.raises(UserError):
        failing(logging_to(folder), list, error)
    assert log.exists()


def test_a_log_that_cannot_be_opened_leaves_no_folder(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(logging.FileHandler, "_open", refuse)
    message = r"train\.log: cannot be written: Permission denied"
    with pytest.raises(UserError, match=message), logging_to(tmp_path / "run"):
        pass
    assert not list(tmp_path.iterdir())


def test_the_error_that_ends_another_process_is_in_the_log_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLE_TRAINER_ID", "3")
    with logging_to(tmp_path):
        logger.info("hello")
    with pytest.raises(UserError, match="no such image"), logging_to(tmp_path, main=False):
        raise UserError("list.txt:4: no such image")
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert [line.split("] ")[1] for line in lines] == ["INFO hello", "ERROR process 3: list.txt:4: no such image"]


def test_where_there_is_no_folder_the_error_of_another_process_stays_what_it_is(tmp_path):
    with pytest.raises(UserError, match="^cause$"), logging_to(tmp_path / "none", main=False):
        raise UserError("cause")
    assert not (tmp_path / "none").exists()

"""What goes on is shown on a terminal, told now and then elsewhere, and kept as JSON on request."""

import io
import json
import logging
import os
import threading
import time

import pytest
from rich.console import Console
from support.processes import PATIENCE

from ppcls_compress.engine import context, logs, progress
from ppcls_compress.engine.logs import logger, logging_to, reporting, tell_event
from ppcls_compress.engine.progress import Step, shown, step, track
from ppcls_compress.errors import UserError


@pytest.fixture
def terminal(monkeypatch):
    """What a terminal is given."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120, highlight=False)
    for module in (logs, progress):
        monkeypatch.setattr(module, "console", console)
    return console


def test_a_terminal_shows_the_innermost_step_and_then_the_outer_one_again(terminal):
    with shown("train"), step("training", 3) as outer:
        outer.advance(note="loss 1.5", what="epoch 1")
        display = progress._DISPLAY.get()
        assert list(track([1, 2], "evaluating")) == [1, 2]

        def visible():
            return [(task.description, task.completed, task.total) for task in display.progress.tasks if task.visible]

        with step("calibrating"):
            assert visible() == [("calibrating", 0, None)]
        assert visible() == [("epoch 1", 1, 3)]
        display.progress.refresh()
    text = terminal.file.getvalue()
    assert "epoch 1" in text
    assert "loss 1.5" in text
    assert "1/3" in text
    assert progress._DISPLAY.get() is None


def test_layers_that_compression_goes_through_are_a_step_of_the_one_display(terminal):
    with shown("train"):
        for _ in context._shown(["conv"], "rounding weights"):
            tasks = progress._DISPLAY.get().progress.tasks
            assert [(task.description, task.total) for task in tasks if task.visible] == [("rounding weights", 1)]


def test_a_forked_process_does_not_wait_for_the_lock_of_the_thread_that_draws(terminal, capfd):
    with shown("train"), logging_to(), terminal._lock:
        process = os.fork()
        if not process:
            threading.Thread(target=lambda: (logger.warning("from the child"), os._exit(7)), daemon=True).start()
            time.sleep(PATIENCE)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 7
    assert "from the child" in capfd.readouterr().err


def test_an_error_ends_the_display(terminal):
    with pytest.raises(UserError), shown("train"), step("training"):
        raise UserError("no")
    assert progress._DISPLAY.get() is None
    assert terminal._live_stack == [] if hasattr(terminal, "_live_stack") else terminal._live is None


@pytest.mark.parametrize("how", ["no terminal", "quiet", "another process"])
def test_nothing_is_drawn_where_nobody_looks(terminal, monkeypatch, how):
    if how == "no terminal":
        terminal._force_terminal = False
    if how == "another process":
        monkeypatch.setenv("PADDLE_TRAINER_ID", "1")
    with reporting(quiet=how == "quiet"), shown("train"), step("training", 2) as running:
        running.advance()
        assert not running.is_shown
        assert not running.wants_note
    assert terminal.file.getvalue() == ""


def test_without_a_terminal_a_long_step_has_a_line_a_minute(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO, logger=logger.name), step("evaluating", 100) as running:
        for _ in range(100):
            now[0] += 2.0
            running.advance()
        for _ in range(100):
            Step("told by others").quiet().advance()
    assert caplog.messages == [
        "evaluating: 30 of 100, 60 s",
        "evaluating: 60 of 100, 120 s",
        "evaluating: 90 of 100, 180 s",
    ]


def test_events_and_messages_are_lines_of_json(tmp_path, capsys):
    file = tmp_path / "new" / "log.jsonl"
    tell_event("nobody", listens=1)
    with reporting(json_log=file), logging_to():
        logger.warning("beware of %s", "\u00e9")
        tell_event("batch", loss=float("nan"), top1=0.5)
        with step("calibrating", 2) as running:
            running.advance(2)
    with reporting(json_log=file):
        tell_event("later")
    tell_event("nobody", listens=1)
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["message", "batch", "started", "finished", "later"]
    assert (lines[0]["level"], lines[0]["message"]) == ("warning", "beware of \u00e9")
    assert (lines[1]["loss"], lines[1]["top1"]) == (None, 0.5)
    assert (lines[3]["what"], lines[3]["done"]) == ("calibrating", 2)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_json_log_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "log").mkdir()
    with pytest.raises(UserError, match="log: cannot be written: Is a directory"), reporting(json_log=tmp_path / "log"):
        pass


def test_under_quiet_only_warnings_are_told_and_the_file_of_the_run_has_all(tmp_path, capsys):
    with reporting(quiet=True), logging_to(tmp_path):
        logger.info("hello")
        logger.warning("beware")
    assert [line.split("] ")[1] for line in capsys.readouterr().err.splitlines()] == ["WARNING beware"]
    assert "INFO hello" in (tmp_path / "train.log").read_text()

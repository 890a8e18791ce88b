import signal

import pytest
from support.project import make_project

from ppcls_compress import cli


def stop_with(monkeypatch, command, error):
    def run(args):
        raise error

    monkeypatch.setattr(f"ppcls_compress.commands.{command}.run", run)
    return cli.main([command, "-c", "config.yaml"])


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("train", "stopped; --resume goes on from the last checkpoint, if there is one\n"),
        ("compress", "stopped; the same command goes on\n"),
        ("eval", "stopped\n"),
    ],
)
def test_what_can_go_on_says_how_when_it_is_stopped(monkeypatch, capsys, command, text):
    assert stop_with(monkeypatch, command, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == text


def test_a_command_that_is_stopped_while_it_is_loaded_says_no_more(monkeypatch, capsys):
    def load(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.importlib, "import_module", load)
    assert cli.main(["eval", "-c", "config.yaml"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_a_command_that_is_terminated_ends_like_an_interrupted_one(monkeypatch, capsys):
    earlier = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        monkeypatch.setattr("ppcls_compress.commands.eval.run", lambda args: signal.raise_signal(signal.SIGTERM))
        assert cli.main(["eval", "-c", "config.yaml"]) == 128 + signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, earlier)
    assert capsys.readouterr().err == "stopped\n"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FileNotFoundError(2, "No such file or directory", "/proc/x"), "error: /proc/x: No such file or directory\n"),
        (OSError(28, "No space left on device"), "error: No space left on device\n"),
        (TimeoutError(), "error: TimeoutError\n"),
    ],
)
def test_errors_of_the_system_are_one_line(monkeypatch, capsys, error, text):
    assert stop_with(monkeypatch, "eval", error) == 2
    assert capsys.readouterr().err == text


def test_folders_that_cannot_be_made_are_one_line(tmp_path, capsys):
    config = str(make_project(tmp_path / "project"))
    (tmp_path / "file").write_text("")
    (tmp_path / "best.pdparams").write_text("")
    start = ["-c", config, "-o", f"Global.pretrained_model={tmp_path}/best"]
    for arguments in (
        ["train", "-c", config, "-o", f"Global.output_dir={tmp_path}/file"],
        ["train", "-c", config, "-o", "Global.output_dir=/proc/x"],
        ["sensitivity", *start, "--out", f"{tmp_path}/file"],
    ):
        assert cli.main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert "cannot be made a folder" in line


@pytest.mark.parametrize(
    ("started", "told"),
    [
        ("/usr/bin/ppcls-compress", "usage: ppcls-compress eval [-h]"),
        ("tools/eval.py", "usage: python tools/eval.py [-h]"),
        ("/x/ppcls_compress/__main__.py", "usage: python -m ppcls_compress eval [-h]"),
    ],
)
def test_usage_says_the_command_that_was_typed(monkeypatch, capsys, started, told):
    monkeypatch.setattr("sys.argv", [started])
    with pytest.raises(SystemExit):
        cli.main(["-h"], command="eval")
    assert capsys.readouterr().out.startswith(told)


def test_a_second_configuration_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["eval", "-c", "a.yaml", "-c", "b.yaml"])
    assert stopped.value.code == 2
    assert "-c is given twice: a.yaml and b.yaml; one file may stand on another by _BASE_" in capsys.readouterr().err

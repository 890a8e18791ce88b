"""What is said about the installed PaddlePaddle, before it is imported."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import paddle
import pytest
import setuptools

from ppcls_compress import cli, paddle_version
from ppcls_compress.errors import UserError

SETUP = Path(__file__).parent.parent / "setup.py"


def install(folder, version):
    """A `paddle` of some version that cannot be imported."""
    (folder / "paddle" / "version").mkdir(parents=True)
    (folder / "paddle" / "__init__.py").write_text("raise SystemError('imported')\n")
    (folder / "paddle" / "version" / "__init__.py").write_text(f"full_version     = {version!r}\nmajor = '3'\n")
    return folder


def run(folder, code):
    path = [str(folder), *sys.path]
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}\n{code}"], capture_output=True, text=True
    )


def found(monkeypatch, version):
    monkeypatch.setattr(paddle_version, "installed", lambda: version)
    return paddle_version.check()


def test_the_version_is_that_of_the_import():
    assert paddle_version.installed() == paddle.__version__


@pytest.mark.parametrize("version", ["3.0.0", "3.1.1", "3.2.2", "3.3.1", "3.3.2rc1", "3.3.0.dev20260101", "0.0.0"])
def test_nothing_is_said_of_a_supported_release_or_one_from_source(monkeypatch, version):
    assert found(monkeypatch, version) is None


@pytest.mark.parametrize("version", ["2.6.2", "3.0.0rc1", "3.0.0b2", "3.0.0-beta1", None])
def test_what_is_too_old_or_missing_is_refused_with_what_to_install(monkeypatch, version):
    told = f"PaddlePaddle {version} is too old" if version else "PaddlePaddle is not installed"
    with pytest.raises(UserError, match=rf"^{re.escape(told)}; supported: 3\.0 to 3\.3: pip install 'paddlepaddle"):
        found(monkeypatch, version)


@pytest.mark.parametrize("version", ["3.4.0", "3.10.0", "4.0.0"])
def test_what_is_newer_gets_a_line_and_runs(monkeypatch, capsys, version):
    assert found(monkeypatch, version).startswith(f"PaddlePaddle {version} is not tested, 3.0 to 3.3 is; ")
    monkeypatch.setattr("ppcls_compress.commands.report.run", lambda args: None)
    assert cli.main(["report", "-c", "config.yaml", "a=b"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: PaddlePaddle {version} is not tested")


def test_commands_and_the_library_refuse_before_anything_is_imported(tmp_path):
    folder = install(tmp_path, "2.6.2")
    line = "PaddlePaddle 2.6.2 is too old; supported: 3.0 to 3.3"
    command = run(folder, "from ppcls_compress.cli import main; sys.exit(main(['train', '-c', 'no.yaml']))")
    assert (command.returncode, command.stderr.count("\n")) == (2, 1)
    assert command.stderr.startswith(f"error: {line}")
    library = run(folder, "from ppcls_compress.slim import FPGMFilterPruner")
    assert f"UserError: {line}" in library.stderr
    assert "imported" not in library.stderr


def test_help_needs_no_paddle(tmp_path):
    folder = install(tmp_path, "2.6.2")
    assert run(folder, "from ppcls_compress.cli import main; main(['--help'])").stdout.startswith("usage:")


def test_the_lower_bound_is_the_oldest_supported(monkeypatch):
    declared = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: declared.update(options))
    runpy.run_path(str(SETUP))
    assert "paddlepaddle>={}.{}.0".format(*paddle_version.OLDEST) in declared["install_requires"]

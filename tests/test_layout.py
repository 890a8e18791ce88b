"""The rooms of the package: who may import whom, and how large a file may be. `.importlinter` holds the table."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.layout import linted

ROOT = Path(__file__).parents[1]
LIMIT = 400
HEAVY = {"commands.dry_run"}
"""What a command imports when it runs."""


def test_imports_follow_the_table():
    code, text = linted(ROOT, ROOT / ".importlinter")
    assert code == 0, text


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("slim/quant/fold.py", "from ppcls_compress.slim.paddleslim import state_dict", "PaddleSlim's names"),
        ("slim/prune/pruner.py", "from ppcls_compress.engine import loop", "From the commands down"),
        ("deploy/paddle/export.py", "from ppcls_compress.deploy import formats", "Formats are collected"),
        ("engine/hooks/base.py", "from ppcls_compress.engine import loop", "No circle"),
        ("slim/prune/trace/labels.py", "from ppcls_compress.slim.prune.cut import masks", "Trace, cut, choose"),
    ],
)
def test_a_wrong_import_is_told(tmp_path, file, line, contract):
    shutil.copytree(ROOT / "ppcls_compress", tmp_path / "ppcls_compress", ignore=shutil.ignore_patterns("__pycache__"))
    changed = tmp_path / "ppcls_compress" / file
    changed.write_text(f"{changed.read_text()}\n{line}\n")
    code, text = linted(tmp_path, ROOT / ".importlinter")
    assert code == 1
    assert any(told.startswith(contract) and "BROKEN" in told for told in text.splitlines()), text


@pytest.mark.parametrize("folder", ["ppcls_compress", "tools", "tests", "benchmarks"])
def test_no_file_is_longer_than_a_reader_takes_in(folder):
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > LIMIT} == {}


def test_a_configuration_is_checked_and_an_artifact_described_without_paddle():
    names = [f"commands.{path.stem}" for path in (ROOT / "ppcls_compress" / "commands").glob("[a-z]*.py")]
    lean = ["cli", "config.load", "deploy.artifact", "deploy.formats", "slim.record", *sorted(set(names) - HEAVY)]
    code = (
        "import importlib, sys\n"
        f"for name in {lean}:\n"
        "    importlib.import_module(f'ppcls_compress.{name}')\n"
        "    if 'paddle' in sys.modules: sys.exit(f'{name} imports Paddle')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_room_has_its_row():
    package = ROOT / "ppcls_compress"
    rows = re.findall(r"^\| (`.+?) \|", (ROOT / "docs" / "design.md").read_text(encoding="utf-8"), re.MULTILINE)
    told = [room for row in rows for room in re.findall(r"`([\w/]+)/`", row)]
    rooms = {str(file.parent.relative_to(package)) for file in package.rglob("__init__.py")} - {"."}
    assert sorted(told) == sorted(rooms)


def test_tests_stand_in_the_rooms_of_what_they_test():
    tests = ROOT / "tests"
    folders = {str(file.parent.relative_to(tests)) for file in tests.rglob("test_*.py")} - {"."}
    assert {folder for folder in folders if not (ROOT / "ppcls_compress" / folder).is_dir()} == {
        "benchmarks",
        "properties",
    }


def test_class_variables_have_a_type():
    """Pydantic 2.7 takes one without for a field where a subclass stands in another file."""
    files = (ROOT / "ppcls_compress").rglob("*.py")
    assert [str(file) for file in files if re.search(r": ClassVar\s*(=|$)", file.read_text(), re.MULTILINE)] == []

"""The commands of the README, as it gives them."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import textwrap
from pathlib import Path

from ppcls_compress import cli

ROOT = Path(__file__).parents[2]
_SHELL = {"python", "python3.11", "pip", "bash", "export", "ppcls-compress"}


def text():
    return (ROOT / "README.md").read_text(encoding="utf-8")


def programs():
    """What is shown of Python."""
    blocks = re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", text(), re.MULTILINE)
    return [block for block in map(textwrap.dedent, blocks) if re.match(r"\s*(import|from) ", block)]


def commands():
    """Words of each command, in order; lines that go on are joined, comments are left out."""
    lines = "\n".join(re.findall(r"^ {4}(.*)$", text(), re.MULTILINE)).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in line.split(" && ")]
    found = [shlex.split(part, comments=True) for part in parts if part.split(" ")[0] in _SHELL]
    inline = re.findall(r"`(python -m paddle[^`]*)`", text())
    return [*found, *map(shlex.split, inline)]


def run(words, more=(), *, monkeypatch):
    """The exit code of a command, with arguments added to it; modules and scripts are called in this process."""
    match words:
        case ["export", setting]:
            name, _, value = setting.partition("=")
            monkeypatch.setenv(name, value.replace("$PWD", os.getcwd()))
            return 0
        case ["python", "-m", module, *rest]:
            return importlib.import_module(module).main([*rest, *more])
        case ["python", script, *rest] if script.startswith("tools/"):
            return cli.main([*rest, *more], command=Path(script).stem)
        case ["ppcls-compress", *rest]:
            return cli.main([*rest, *more])
    raise AssertionError(f"no way to run {words}")

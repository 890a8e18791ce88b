"""Who may import whom, as import-linter sees it."""

import re
import subprocess
import sys
from pathlib import Path


def linted(root, table):
    """The verdict of import-linter on the package in a folder, by a table: its exit code and what it says."""
    command = [Path(sys.executable).with_name("lint-imports"), "--config", table, "--no-cache"]
    found = subprocess.run(
        command, cwd=root, env={"PYTHONPATH": str(root), "COLUMNS": "200"}, capture_output=True, text=True
    )
    return found.returncode, re.sub(r"\x1b\[[0-9;]*m", "", found.stdout + found.stderr)  # 2.6 colours always

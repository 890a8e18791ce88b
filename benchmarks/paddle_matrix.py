"""The tests on the last release of each PaddlePaddle that is supported, and what passed, by what it is about.

    python benchmarks/paddle_matrix.py DIR                                 everything, on every release
    python benchmarks/paddle_matrix.py DIR --releases 3.1.1 -- tests/slim  some tests on one of them
    python benchmarks/paddle_matrix.py DIR --table                         what DIR holds so far

Each release has an environment `DIR/<release>/venv`, about 1 GB, and each run adds a `DIR/<release>/<n>.xml`; of a test
that ran more than once the last run counts. What follows `--` goes to pytest.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RELEASES = ("3.0.0", "3.1.1", "3.2.2", "3.3.1")
COLUMNS = {
    "train": r"engine|data|losses|metrics|models|optim|commands\.test_(train|stopped|not_finite)",
    "prune": r"properties|slim\.(prune|paddleslim\.test_(filter|golden|prun|successive|sens))|commands\.test_sens",
    "quantize": r"slim\.(quant|paddleslim)|commands\.test_quantize",
    "export": r"deploy|report|commands",
    "the rest": r"",
}
"""Which tests a column counts: the first whose pattern `folder.test_file.test_name` starts with."""


def run(folder: Path, release: str, arguments: list[str]) -> bool:
    """Run tests in the release's environment, made when needed; whether all passed."""
    place = folder / release
    place.mkdir(parents=True, exist_ok=True)
    constraints = place / "constraints.txt"
    constraints.write_text(f"paddlepaddle=={release}\n")
    number = 1 + max((int(file.stem) for file in place.glob("*.xml")), default=0)
    settings = {"PPCLS_VENV": place / "venv", "PPCLS_CONSTRAINTS": constraints, "PPCLS_EXTRAS": "test,onnx,openvino"}
    command = ["bash", ROOT / "tools" / "test.sh", f"--junitxml={place / f'{number}.xml'}", *arguments]
    return subprocess.run(command, env={**os.environ, **{k: str(v) for k, v in settings.items()}}).returncode == 0


def outcomes(place: Path) -> dict[str, str]:
    """`passed`, `skipped` or `failed` by test, from all the runs of a release."""
    found = {}
    for file in sorted(place.glob("*.xml"), key=lambda file: int(file.stem)):
        for case in ElementTree.parse(file).iter("testcase"):
            kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
            outcome = "skipped" if kinds == {"skipped"} else "failed" if kinds else "passed"
            found[f"{case.get('classname')}.{case.get('name')}"] = outcome
    return found


def table(folder: Path, releases: list[str]) -> list[str]:
    """Lines of Markdown, one row per release that has results."""
    lines = [f"| PaddlePaddle | {' | '.join(COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]
    for release in releases:
        counts = {column: Counter() for column in COLUMNS}
        for test, outcome in outcomes(folder / release).items():
            counts[_column(test.removeprefix("tests."))][outcome] += 1
        if any(counts.values()):
            lines.append(f"| {release} | {' | '.join(map(_cell, counts.values()))} |")
    return lines


def _column(test: str) -> str:
    return next(name for name, pattern in COLUMNS.items() if re.match(pattern, test))


def _cell(count: Counter) -> str:
    return ", ".join(f"{count[kind]} {kind}" for kind in ("passed", "failed", "skipped") if count[kind]) or "not run"


def main() -> int:
    """Run, print the table; 1 if a test failed."""
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    own, rest = sys.argv[1:cut], sys.argv[cut + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--releases", nargs="+", default=RELEASES, choices=RELEASES)
    parser.add_argument("--table", action="store_true", help="run nothing")
    args = parser.parse_args(own)
    passed = [args.table or run(args.folder.resolve(), release, rest) for release in args.releases]
    print("\n".join(table(args.folder, args.releases)))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())

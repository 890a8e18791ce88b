"""`check_configs`: the dry run of many configurations, and which of them do not pass."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ppcls_compress import __version__, io
from ppcls_compress.commands.many import Outcome, outcomes, read
from ppcls_compress.engine.progress import shown
from ppcls_compress.errors import ConfigError, UserError

MEMORY_OF_ONE = 4 * 2**30
"""Bytes that the dry run of a large network takes; so many fit into the machine's memory at a time."""

OWN_DISPLAY = True
"""Processes are forked here, in which the command line's display would go on."""

_FIELDS = {*(field.name for field in fields(Outcome)), "sha256"}
_TEXTS = ("file", "status", "sha256")
_MARKS = {"ok": "ok", "foreign": "for another tool", "failed": "failed", "crashed": "crashed"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `check_configs`."""
    parser.add_argument(
        "patterns",
        nargs="+",
        metavar="GLOB",
        help="YAML files, folders of them, or patterns such as 'configs/**/*.yaml'",
    )
    parser.add_argument(
        "-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="replace one value in every file"
    )
    parser.add_argument(
        "--read-only", action="store_true", help="check keys, names and options alone, in a moment; nothing is built"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="dry runs at a time (default: one per core)")
    parser.add_argument(
        "--timeout", type=float, default=900, metavar="SECONDS", help="stop a dry run after this time (default: 900)"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="keep the results in this file; what is in it already is not run again"
    )
    parser.add_argument(
        "--retry", action="store_true", help="run again what did not pass, of the results that --json names"
    )


def run(args: argparse.Namespace) -> None:
    """Dry-run every file, one line each, then a total.

    Raises:
        UserError: not all of them pass; or the arguments cannot be used.
    """
    files = matching(args.patterns)
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"--workers: expected at least 1, found {args.workers}")
    if not args.timeout > 0:
        raise ConfigError(f"--timeout: expected more than 0 seconds, found {args.timeout:g}")
    workers = args.workers or default_workers()
    kept = Results(args.json, [*args.override, *(["--read-only"] if args.read_only else [])])
    kept.check_readable()
    known = kept.known(files, retry=args.retry)
    rest = [file for file in files if file not in known]
    os.environ["OMP_NUM_THREADS"] = "1"  # the cores are shared by processes
    if rest and not args.read_only:
        with shown("loading PaddlePaddle"):  # once, before the processes fork
            from ppcls_compress.commands import dry_run, train  # noqa: F401
            from ppcls_compress.deploy.paddle import inference  # noqa: F401
            from ppcls_compress.slim import tracing

            tracing.prepare()
    found = _told(known, rest, args, workers, kept)
    sys.stdout.write("\n".join(totals(found.values())) + "\n")
    bad = [outcome for outcome in found.values() if outcome.status != "ok"]
    if bad:
        raise UserError(f"{len(bad)} of {len(found)} configurations do not pass")


def _told(
    known: dict[str, Outcome], rest: Sequence[str], args: argparse.Namespace, workers: int, kept: Results
) -> dict[str, Outcome]:
    """All outcomes by file, those of `rest` told as they come, under a bar where there is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    # Older releases of rich end a bar that is not shown with an empty line.
    console.quiet = args.quiet or not console.is_terminal
    columns = (SpinnerColumn(), TextColumn("configurations"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    found = dict(known)
    if known:
        sys.stdout.write(f"{len(known)} results are in {args.json} already\n")
    # Processes are forked while the bar is shown: a thread that draws it could hold a lock at that moment.
    with Progress(*columns, console=console, auto_refresh=False) as bar:
        task = bar.add_task("", total=len(rest) + len(known), completed=len(known))
        bar.refresh()
        for outcome in outcomes(
            rest,
            args.override,
            workers=workers,
            timeout=args.timeout,
            check=read if args.read_only else None,
            tick=bar.refresh,
        ):
            found[outcome.file] = outcome
            kept.add(outcome)
            if console.is_terminal and not args.quiet:
                console.print(line_of(outcome), markup=False)
            else:
                sys.stdout.write(line_of(outcome) + "\n")
                sys.stdout.flush()
            bar.advance(task)
            bar.refresh()
    return found


def line_of(outcome: Outcome) -> str:
    """One line on one file."""
    reason = outcome.reason.removeprefix(f"{outcome.file}: ")
    return f"{_MARKS[outcome.status]}: {outcome.file} ({outcome.seconds:.0f} s)" + (f": {reason}" if reason else "")


def totals(found: Iterable[Outcome]) -> list[str]:
    """How many of each folder pass, and how many in all end in which way."""
    found = list(found)
    root = os.path.commonpath([os.path.dirname(outcome.file) or "." for outcome in found])
    by_folder: dict[str, list[Outcome]] = {}
    for outcome in found:
        parts = Path(os.path.relpath(outcome.file, root)).parts
        by_folder.setdefault(parts[0] if len(parts) > 1 else ".", []).append(outcome)
    lines = [
        f"{folder}: {sum(outcome.status == 'ok' for outcome in group)} of {len(group)} pass"
        for folder, group in sorted(by_folder.items())
    ]
    counts = Counter(outcome.status for outcome in found)
    ends = ", ".join(f"{counts[status]} {mark}" for status, mark in _MARKS.items())
    return [*(lines if len(lines) > 1 else []), f"{len(found)} configurations: {ends}"]


def matching(patterns: Sequence[str]) -> list[str]:
    """The YAML files that some patterns, files and folders name, each once, sorted.

    Raises:
        ConfigError: nothing is named by one of them.
    """
    found: set[str] = set()
    for pattern in patterns:
        if Path(pattern).is_dir():
            names = [str(path) for ending in ("yaml", "yml") for path in Path(pattern).rglob(f"*.{ending}")]
        elif Path(pattern).exists():
            names = [pattern]
        else:
            names = [name for name in glob.glob(pattern, recursive=True) if os.path.isfile(name)]
        if not names:
            raise ConfigError(f"{pattern}: no such file, and no YAML files in it or like it")
        found.update(names)
    return sorted(found)


def default_workers() -> int:
    """One for each core, as far as memory goes."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(cores, memory // MEMORY_OF_ONE))


class Results:
    """The outcomes so far, in a JSON file that is rewritten after each; nothing where no file is named."""

    def __init__(self, file: str | None, overrides: Sequence[str]) -> None:
        self._file = file
        self._data: dict[str, Any] = {"version": __version__, "overrides": list(overrides), "results": []}

    def check_readable(self) -> None:
        """Take over what the file holds.

        Raises:
            UserError: it holds something else, or results with other overrides or of another version.
        """
        if self._file is None or not Path(self._file).exists():
            return
        data = io.read_json(self._file)
        if not isinstance(data, dict) or not _are_results(data.get("results")):
            raise UserError(f"{self._file}: does not hold results of check_configs; name another file with --json")
        if data.get("overrides") != self._data["overrides"]:
            raise UserError(
                f"{self._file}: holds results of -o {' -o '.join(map(str, data.get('overrides') or ['nothing']))}; "
                "name another file with --json"
            )
        if data["results"] and data.get("version") != __version__:
            raise UserError(
                f"{self._file}: holds results of version {data.get('version')}, this is {__version__}; name another "
                "file with --json"
            )
        self._data["results"] = data["results"]

    def known(self, files: Sequence[str], *, retry: bool) -> dict[str, Outcome]:
        """The outcomes of unchanged files; with `retry` only of those that passed."""
        wanted = set(files)
        found = {}
        for entry in self._data["results"]:
            fields = {key: value for key, value in entry.items() if key != "sha256"}
            outcome = Outcome(**fields)
            same = outcome.file in wanted and entry["sha256"] == _sum(outcome.file)
            if same and not (retry and outcome.status != "ok"):
                found[outcome.file] = outcome
        return found

    def add(self, outcome: Outcome) -> None:
        """Write one more."""
        if self._file is None:
            return
        others = [entry for entry in self._data["results"] if entry["file"] != outcome.file]
        self._data["results"] = [*others, {**asdict(outcome), "sha256": _sum(outcome.file)}]
        io.write_json(self._file, self._data)


def _are_results(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and set(entry) == _FIELDS and all(isinstance(entry[key], str) for key in _TEXTS)
        for entry in value
    )


def _sum(file: str) -> str:
    return io.sha256(file) if Path(file).exists() else ""

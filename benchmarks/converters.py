"""The converters to ONNX on every network of the catalogue: exactness, equal files, operators, time, size.

Each network is saved once, with drawn weights and epsilons that are no one's default, and converted twenty times in
fresh processes, by paddle2onnx and by p2o, each as it comes (`stock`) and as this package uses it (`here`). All twenty
files must be equal, ONNX Runtime must answer as Paddle does, and epsilons must be the layers'. Networks of up to 60 MB
and the smallest of each family take part (`--all`: every one); in what is not used here, those of up to 25 MB and the
smallest of up to 120 MB. One network is not of the catalogue: `doubles` has what Paddle 3.3 holds as doubles, which
paddle2onnx reads uninitialised.

    nice -n 10 python benchmarks/converters.py                 # resumable; results/converters.jsonl
    nice -n 10 python benchmarks/converters.py --all
    nice -n 10 python benchmarks/converters.py --only 'ResNet*_vd' --again
    python benchmarks/converters.py --table
"""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import importlib.metadata
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from common import append, machine, read_results, run_child
from converters_worker import CLOSE

from ppcls_compress import io
from ppcls_compress.errors import one_line

WORKER = Path(__file__).with_name("converters_worker.py")
RESULTS = Path(__file__).parent / "results" / "converters.jsonl"
CONVERTERS = ("paddle2onnx", "p2o")
FORMS = ("stock", "here")
EVERYWHERE = ("paddle2onnx", "here")
SMALL, REST, SMALLEST = 60e6, 25e6, 120e6  # bytes of parameters
CHUNK = 12  # networks on the disk at once
ROUNDING = 4.0  # times what Paddle's own single precision is off, where a network amplifies that beyond


def main() -> None:
    """Measure what is not measured yet, then print the table."""
    args = _arguments()
    if not args.table:
        os.environ.update(OMP_NUM_THREADS="1", GLOG_minloglevel="3")
        sizes = _child("sizes")
        names = [name for name in sizes if args.all or sizes[name] <= SMALL or name in _smallest(sizes)]
        wanted = [name for name in names if any(fnmatch.fnmatch(name, only) for only in args.only)]
        done = set() if args.again else {row["network"] for row in read_results(args.results).values()}
        todo = sorted((name for name in wanted if name not in done), key=sizes.get)  # most networks soon
        for start in range(0, len(todo), CHUNK):
            _measure(todo[start : start + CHUNK], sizes, args)
    for line in table(list(read_results(args.results).values())):
        sys.stdout.write(line + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["*"], help="patterns of names")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--converters", nargs="+", choices=CONVERTERS, default=CONVERTERS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--all", action="store_true", help="the larger ones of each family, too")
    parser.add_argument("--again", action="store_true", help="measure what is there already once more")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    return parser.parse_args()


# --- one chunk of networks -------------------------------------------------------------------------------------------


def _smallest(sizes: Mapping[str, int]) -> set[str]:
    """One of each family: of the names that differ in numbers only."""
    families = defaultdict(list)
    for name, size in sizes.items():
        families[re.sub(r"\d+", "#", name)].append((size, name))
    return {min(family)[1] for family in families.values()}


def _measure(names: Sequence[str], sizes: Mapping[str, int], args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="converters_") as folder:
        _child("save", folder, *names)
        facts = {name: io.read_json(Path(folder, name, "facts.json")) for name in names}
        saved = {name: item for name, item in facts.items() if "problem" not in item}
        for name in facts.keys() - saved.keys():
            sys.stderr.write(f"{name}: {facts[name]['problem']}\n")
        for converter in args.converters:
            few = [name for name in saved if sizes[name] <= (SMALLEST if name in _smallest(sizes) else REST)]
            forms = {form: saved if (converter, form) == EVERYWHERE else few for form in FORMS}
            cells = [f"{name}:{form}" for form, names in forms.items() for name in names]
            runs = [[f"{cell}:{run}" for cell in cells] for run in range(args.runs)]
            if converter == "p2o":  # which is a process of its own
                runs = [[cell for run in runs for cell in run]]
            for run in runs:
                _convert_all(Path(folder), converter, run)
        found = _child("check", folder, *saved)
        about = {"machine": machine(), "date": datetime.date.today().isoformat(), "versions": _versions()}
        for row in _rows(Path(folder), saved, found):
            append(args.results, {**row, **about})
            sys.stderr.write(f"{row['cell']}: {_verdict(row) or 'right'}\n")


def _versions() -> dict[str, str]:
    packages = ("paddlepaddle", "onnx", "onnxruntime", *CONVERTERS)
    there = {item.metadata["Name"].lower() for item in importlib.metadata.distributions()}
    return {name: importlib.metadata.version(name) for name in packages if name in there}


def _child(task: str, *values: str | Path) -> dict:
    command = [sys.executable, "-W", "ignore", str(WORKER), task, *map(str, values)]
    result, reason = run_child(command, timeout=3600)
    if result is None:
        raise SystemExit(f"{task} {' '.join(map(str, values))}: {reason}")
    return result


def _convert_all(folder: Path, converter: str, cells: Sequence[str]) -> None:
    """Convert all of them in one fresh process, and again one after what ended it."""
    log, left = folder / f"{converter}.jsonl", list(cells)
    while left:
        command = [sys.executable, "-W", "ignore", str(WORKER), "convert", str(folder), converter, str(log)]
        done = subprocess.run([*command, *left], capture_output=True, text=True, check=False)
        left = [cell for cell in left if cell not in read_results(log)]
        if left:  # the process died at the first of them
            said = [line for line in (done.stdout + done.stderr).splitlines() if "unsupport" in line.lower()]
            reason = one_line(said[-1] if said else f"ended with {done.returncode}", 150)
            append(log, {"cell": left.pop(0), "problem": reason})


def _rows(folder: Path, saved: Mapping[str, dict], checked: Mapping[str, dict]) -> Iterator[dict]:
    entries = defaultdict(list)
    for log in sorted(folder.glob("*.jsonl")):
        for cell, entry in read_results(log).items():
            name, form, _ = cell.split(":")
            entries[name, log.stem, form].append(entry)
    for (name, converter, form), runs in entries.items():
        failed = [run["problem"] for run in runs if "problem" in run]
        files = [checked[f"{name}/{run['file']}"] for run in runs if "file" in run]
        differences = [file["difference"] for file in files if file["difference"] is not None]
        yield {
            "cell": f"{name}:{converter}:{form}",
            "network": name,
            "converter": converter,
            "form": form,
            "native": saved[name]["native"],
            "image": saved[name]["image"],
            "parameter_bytes": saved[name]["bytes"],
            "runs": len(runs),
            "failed": len(failed),
            "reason": failed[0] if failed else next((file["problem"] for file in files if file["problem"]), ""),
            "files": len({run["file"] for run in runs if "file" in run}),
            "norms": saved[name]["norms"],
            "rounding": saved[name]["rounding"],
            "wrong_epsilons": max((file["wrong_epsilons"] for file in files), default=0),
            "difference": max(differences, default=None),
            "seconds": round(statistics.median([run["seconds"] for run in runs if "seconds" in run] or [0]), 3),
            "file_bytes": files[0]["bytes"] if files else None,
        }


# --- the table -------------------------------------------------------------------------------------------------------


def _verdict(row: Mapping[str, object]) -> str:
    """What is wrong with a cell; nothing if all is right."""
    problems = []
    if row["failed"]:
        problems.append(f"{row['failed']} of {row['runs']} failed")
    if row["reason"]:
        problems.append(row["reason"])
    if row["difference"] is not None and not row["difference"] <= _allowed(row):
        problems.append(f"wrong by {row['difference']:.2g} of the largest logit")
    if row["wrong_epsilons"]:
        problems.append(f"{row['wrong_epsilons']} of {row['norms']} epsilons wrong")
    if row["files"] > 1:
        problems.append(f"{row['files']} different files in {row['runs']}")
    return ", ".join(problems)


def _allowed(row: Mapping[str, object]) -> float:
    return max(CLOSE, ROUNDING * row.get("rounding", 0.0))


def table(found: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """Totals by converter and form, then each cell that is not right."""
    heads = ("converter", "networks", "exports", "failed", "other answers", "wrong epsilons", "files differ", "worst")
    yield f"| {' | '.join(heads)} | seconds |"
    yield "|---" * (len(heads) + 1) + "|"
    for converter in CONVERTERS:
        for form in FORMS:
            for kind, native in (("all", None), ("native", True)):
                cells = [
                    row
                    for row in found
                    if (row["converter"], row["form"]) == (converter, form) and native in (None, row["native"])
                ]
                if cells:
                    yield f"| {converter}, {form}, {kind} | {' | '.join(map(str, _totals(cells)))} |"
    yield ""
    for row in sorted(found, key=lambda row: (row["converter"], row["form"], row["network"])):
        if verdict := _verdict(row):
            yield f"{row['converter']}, {row['form']}: {row['network']}: {verdict}"


def _totals(cells: Sequence[Mapping[str, object]]) -> list[object]:
    unlike = [row for row in cells if row["files"] and not (row["difference"] or 0) <= _allowed(row)]
    broken = [row for row in cells if row["files"] and row["difference"] is None]
    right = [row["difference"] for row in cells if row["difference"] is not None and row["difference"] <= CLOSE]
    return [
        len(cells),
        sum(row["runs"] for row in cells),
        sum(row["failed"] for row in cells),
        f"{len(unlike) + len(broken)} networks",
        f"{sum(row['wrong_epsilons'] > 0 for row in cells)} networks",
        f"{sum(row['files'] > 1 for row in cells)} networks",
        f"{max(right, default=float('nan')):.1g}",
        f"{statistics.median([row['seconds'] for row in cells]):.2f}",
    ]


if __name__ == "__main__":
    main()

"""Every comparison with a peer in one table of ratios, with the aim beside each; resumable.

    python benchmarks/run_all.py --peers DIR [--weights FILE.pdparams --pages PAGES] [--only prune qat ...] [--quick]
    python benchmarks/run_all.py --table

Each row is one of the scripts here, by the command that the table names. Peers get environments of their own below
DIR, as `peer_env.py` makes them, when a row first needs one; `--python NAME=PATH` names an interpreter that is there
already. What is finished is kept in `--out` and not run again, unless `--again` says so. `--quick` takes few turns, to
see whether all of it works: its rows are marked, and a later run without it replaces them.

Take the ratios on a quiet machine; the processor and its instructions stand above the table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from common import given_environment
from peer_env import RECIPES, Missing, Peers
from run_all_rows import ROWS, Place, Row

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
HEADS = ("row", "figure", "value", "aim", "kept", "peers' own")


def processor() -> dict[str, str]:
    """The machine that this runs on."""
    sys.path.insert(0, str(ROOT))
    from ppcls_compress import machine

    known = machine.instructions()
    names = {"AMX": "amx_int8", "AVX-512 VNNI": "avx512_vnni", "AVX VNNI": "avx_vnni", "AVX2": "avx2"}
    told = ", ".join(name for name, feature in names.items() if feature in known)
    return {"processor": machine.cpu_name(), "cores": str(len(machine.cores())), "instructions": told or "none"}


def run(row: Row, place: Place) -> dict[str, object]:
    """Run a row's script and read what it found.

    Raises:
        Missing: something that it needs was not given.
        SystemExit: it failed; its own message has been shown.
    """
    command = [sys.executable, "-W", "ignore", str(HERE / row.script), *row.arguments(place)]
    log = place.work / f"{row.name}.log"
    begun = time.perf_counter()
    with log.open("w") as out:
        done = subprocess.run(
            command, stdout=out, stderr=subprocess.STDOUT, check=False, cwd=ROOT, env=given_environment()
        )
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}; {log} ends with\n{log.read_text()[-600:]}")
    return {
        "command": described([f"benchmarks/{row.script}", *command[4:]], place),
        "date": str(date.today()),
        "seconds": round(time.perf_counter() - begun, 1),
        "quick": place.quick,
        **processor(),
        "figures": [figure.as_dict() for figure in row.read(place, log.read_text())],
    }


def described(arguments: list[str], place: Place) -> str:
    """A command with what is particular to this machine left out."""
    short = {"WORK": place.work, "FILE": place.weights, "PAGES": place.pages}
    parts = []
    for part in arguments:
        for name, long in short.items():
            part = part if long is None else part.replace(str(long), name)
        named = {"bin/python": "PEER/bin/python", "PaddleClas": "PADDLECLAS"}
        parts.append(next((name for end, name in named.items() if part.endswith(end)), part))
    return " ".join(["python", *parts])


def table(kept: dict[str, dict]) -> str:
    """All finished rows in Markdown, each with its command."""
    machines = {"{processor}, cores: {cores}, instructions: {instructions}".format(**row) for row in kept.values()}
    lines = [*sorted(machines), "", f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    for name in (row.name for row in ROWS if row.name in kept):
        for figure in kept[name]["figures"]:
            lines.append(
                f"| {name}{' (quick)' if kept[name]['quick'] else ''} | {figure['what']} | {figure['value']:.2f} "
                f"| {figure['aim'] or ''} | {figure['kept'] or ''} | {figure['beside']} |"
            )
    lines += ["", *(f"{name}: `{row['command']}`, {row['date']}, {row['seconds']:.0f} s" for name, row in kept.items())]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run what is not done yet, and print the table; 1 if a row failed or lacks what it needs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [row.name for row in ROWS]
    parser.add_argument("--peers", type=Path, metavar="DIR", help="environments of the peers are made here")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH", help="one that is there")
    parser.add_argument("--weights", type=Path, help="for `calibration`: see published_model.py")
    parser.add_argument("--pages", type=Path, help="for `calibration`: see published_model.py")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--again", action="store_true", help="run finished rows as well")
    parser.add_argument("--threads", type=int, help="threads of each process, for a machine that others use too")
    parser.add_argument("--table", action="store_true", help="print what is finished, and stop")
    parser.add_argument("--work", type=Path, default=Path("output/benchmarks"), help="logs and numbers")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "run_all.json")
    args = parser.parse_args()
    kept = json.loads(args.out.read_text()) if args.out.exists() else {}
    failed = []
    if not args.table:
        given = dict(pair.split("=", 1) for pair in args.python)
        if unknown := given.keys() - RECIPES.keys():
            parser.error(f"--python: {', '.join(sorted(unknown))} is none of {', '.join(RECIPES)}")
        work = args.work.resolve()
        work.mkdir(parents=True, exist_ok=True)
        place = Place(work, Peers(args.peers, given), args.quick, args.threads, args.weights, args.pages)
        failed = run_rows(args, place, kept)
    sys.stdout.write(table(kept))
    return 1 if failed else 0


def run_rows(args: argparse.Namespace, place: Place, kept: dict[str, dict]) -> list[str]:
    """Run the rows that are asked for and not finished, each saved when it is; the names of those that were not."""
    failed = []
    for row in ROWS:
        finished = row.name in kept and (args.quick or not kept[row.name]["quick"])
        if row.name not in args.only or (finished and not args.again):
            continue
        sys.stderr.write(f"{row.name}\n")
        try:
            kept[row.name] = run(row, place)
        except (Missing, SystemExit, subprocess.CalledProcessError) as problem:
            needed = "needs " if isinstance(problem, Missing) else ""
            sys.stderr.write(f"{row.name}: {needed}{problem}\n")
            failed.append(row.name)
            continue
        args.out.parent.mkdir(parents=True, exist_ok=True)
        part = args.out.with_suffix(".part")
        part.write_text(json.dumps(kept, indent=1) + "\n")
        part.replace(args.out)
    return failed


if __name__ == "__main__":
    sys.exit(main())

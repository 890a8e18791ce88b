"""Prune every network at two ratios, with and without alignment, and check each result in other processes.

    python benchmarks/pruning_matrix.py --results benchmarks/results/pruning_matrix.jsonl
    PADDLECLAS_DIR=... python benchmarks/pruning_matrix.py --results ... --only 'paddleclas:*'

A cell is (network, ratio, align). One process builds the network, prunes it with FPGM, runs it, trains one step, saves
and exports it; another builds the dense network again, masks it by the record, and compares; then rebuilds the pruned
structure from the record, loads the saved weights strictly and compares. A cell passes when

- pruned and masked dense outputs agree within 1e-5 (max |a - b| / max |b|),
- the reloaded network gives the saved network's outputs bit for bit, and the exported one within 1e-5,
  (a network that amplifies the rounding of single precision beyond that, `rounding`, is compared in double precision),
- masks made in advance (`lazy`), at ratios that differ by layer, give the outputs of the network that the same call
  cuts, within 1e-5, and both plans and the one of `apply=None` name the same channels and multiply-adds,
- the training step leaves every parameter finite and moves some.

Each finished cell is one JSON line in the results file. A cell that is there already is not run again, so a killed run
goes on where it stopped (`--retry` runs failed cells again). The last thing printed is a summary.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import paddleclas_zoo
from common import append, emit, machine, read_results, run_child
from pruning_cell import TOLERANCE, Cell, check, compare_plans, make

ROOT = Path(__file__).resolve().parent.parent
RATIOS = (0.3, 0.7)
ALIGNS = (None, 8)


def cells() -> Iterator[Cell]:
    """Every cell that can run here, networks outermost."""
    from ppcls_compress.models import catalog

    networks = [("native", name) for name in catalog.names()]
    if paddleclas_zoo.directory():
        networks += [("paddleclas", name) for name in (*paddleclas_zoo.CNNS, *paddleclas_zoo.HYBRIDS)]
    for source, name in networks:
        for ratio in RATIOS:
            for align in ALIGNS:
                yield Cell(source, name, ratio, align)


def run(cell: Cell, timeout: float) -> dict[str, object]:
    """The cell with drawn weights, or with Paddle's where the pruned network overflows on drawn ones."""
    result = attempt(cell, timeout, initial=False)
    if np.isfinite(
        [float(result.get(key, 0.0)) for key in ("rounding", "reload_error", "export_error", "lazy_error")]
    ).all():
        return result
    return attempt(cell, timeout, initial=True)


def attempt(cell: Cell, timeout: float, *, initial: bool) -> dict[str, object]:
    """The three processes of a cell, judged."""
    start = time.perf_counter()
    result: dict[str, object] = {"cell": cell.key, **asdict(cell), "initial_weights": initial}
    with tempfile.TemporaryDirectory(prefix="pruning-matrix-") as directory:
        command = [
            sys.executable,
            "-W",
            "ignore",
            str(Path(__file__).resolve()),
            "--cell",
            cell.key,
            "--directory",
            directory,
            *(["--initial"] if initial else []),
        ]
        for stage in ("make", "check", "plans"):
            shape = ["--shape", *map(str, result["shape"])] if stage != "make" else []
            found, reason = run_child([*command, "--stage", stage, *shape], timeout=timeout)
            if found is None:
                return {**result, "status": "fail", "reason": f"{stage}: {reason}", "seconds": spent(start)}
            result.update(found)
    reason = judge(result)
    return {**result, "status": "fail" if reason else "pass", "reason": reason, "seconds": spent(start)}


def judge(result: dict[str, object]) -> str:
    """Why the cell does not pass, or ""."""
    limits = {
        "masked_error": TOLERANCE,
        "reload_error": 0.0,
        "export_error": TOLERANCE,
        "lazy_error": TOLERANCE,
    }
    wrong = [f"{key} {result[key]:.2e}" for key, limit in limits.items() if not result[key] <= limit]
    if result["plans_differ"]:
        wrong.append("lazy and cut plans differ")
    if result["train_problem"]:
        wrong.append(str(result["train_problem"]))
    if result["params"][1] >= result["params"][0]:
        wrong.append("nothing was pruned")
    return ", ".join(wrong)


def spent(start: float) -> float:
    """Seconds since `start`, rounded."""
    return round(time.perf_counter() - start, 1)


def summary(results: dict[str, dict[str, object]]) -> str:
    """Counts by source and request, the worst error, and every failure with its reason."""
    lines = [
        machine(),
        f"{'source':12s}{'ratio':>6s}{'align':>6s}{'pass':>6s}{'fail':>6s}{'worst error':>13s}{'FLOPs left':>12s}",
    ]
    groups: dict[tuple, list[dict]] = {}
    for result in results.values():
        groups.setdefault((result["source"], result["ratio"], result["align"] or 1), []).append(result)
    for (source, ratio, align), found in sorted(groups.items()):
        count = Counter(result["status"] for result in found)
        passed = [result for result in found if result["status"] == "pass"]
        worst = max((result["masked_error"] for result in passed), default=float("nan"))
        left = (
            float(np.median([result["flops"][1] / result["flops"][0] for result in passed])) if passed else float("nan")
        )
        lines.append(f"{source:12s}{ratio:6.1f}{align:6d}{count['pass']:6d}{count['fail']:6d}{worst:13.1e}{left:12.3f}")
    lines += [f"FAIL {key}: {result['reason']}" for key, result in results.items() if result["status"] == "fail"]
    return "\n".join(lines) + "\n"


def parse_cell(key: str) -> Cell:
    """A cell from its key."""
    source, name, ratio, align = key.split(":")
    return Cell(source, name, float(ratio), None if align == "1" else int(align))


def main() -> int:
    """Run one stage (in a child), or every cell that is still to do."""
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "pruning_matrix.jsonl")
    parser.add_argument("--only", default="*", help="glob over source:name:ratio:align (align 1 is none)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for each of a cell's three processes")
    parser.add_argument("--retry", action="store_true", help="run failed cells again")
    parser.add_argument("--list", action="store_true", help="print the cells that are still to do, and stop")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stage", choices=("make", "check", "plans"), help=argparse.SUPPRESS)
    parser.add_argument("--initial", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--shape", type=int, nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        cell = parse_cell(arguments.cell)
        if arguments.stage == "make":
            emit(make(cell, arguments.directory, initial=arguments.initial))
        else:
            stage = check if arguments.stage == "check" else compare_plans
            emit(stage(cell, arguments.directory, arguments.shape))
        return 0
    results = read_results(arguments.results)
    skipped = {key for key, found in results.items() if found["status"] == "pass" or not arguments.retry}
    todo = [cell for cell in cells() if fnmatch.fnmatch(cell.key, arguments.only) and cell.key not in skipped]
    if arguments.list:
        sys.stdout.write("".join(f"{cell.key}\n" for cell in todo))
        return 0
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    for index, cell in enumerate(todo, start=1):
        result = run(cell, arguments.timeout)
        append(arguments.results, result)
        results[cell.key] = result
        sys.stderr.write(
            f"{index}/{len(todo)} {cell.key}: {result['status']} {result['reason']} ({result['seconds']} s)\n"
        )
    sys.stdout.write(summary(results))
    return 1 if any(result["status"] == "fail" for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Mutated configurations, overrides, state files, records, descriptions, images and lists: what becomes of each.

    nice -n 15 python benchmarks/faults/fuzz.py configs        # resumable; results/faults/configs.jsonl
    nice -n 15 python benchmarks/faults/fuzz.py states --cases 1000
    python benchmarks/faults/fuzz.py images --only 4711        # one case, here, with its traceback
    python benchmarks/faults/fuzz.py --table

Each case is a mutation drawn from its number, so it is the same everywhere. A reader must accept or refuse it in one
line: no crash, no traceback, no hang of 10 s, no alteration of a file with a checksum taken, less than 1 GiB of memory.
"""

from __future__ import annotations

import argparse

from harness import RESULTS, in_blocks, read_results
from targets import KINDS, made


def table() -> None:
    """A line for each kind: cases, what came, the slowest, the largest."""
    for kind in KINDS:
        rows = list(read_results(RESULTS / f"{kind}.jsonl").values())
        counts: dict[str, int] = {}
        for row in rows:
            for name, count in row["counts"].items():
                counts[name] = counts.get(name, 0) + count
        if rows:
            slowest, largest = (max(row[key] for row in rows) for key in ("slowest_s", "memory_mib"))
            print(f"{kind}: {sum(row['cases'] for row in rows)} cases, {counts}, {slowest} s, {largest} MiB")


def main() -> None:
    """Read the arguments; run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", nargs="?", choices=list(KINDS))
    parser.add_argument("--cases", type=int, help="how many (default: as many as a full run has)")
    parser.add_argument("--only", type=int, help="this case alone, without a child process")
    parser.add_argument("--table", action="store_true", help="print what has been found so far")
    args = parser.parse_args()
    if args.table or not args.kind:
        table()
    elif args.only is not None:
        print(made(args.kind)(args.only))
    else:
        in_blocks(args.kind, made(args.kind), args.cases or KINDS[args.kind][1])


if __name__ == "__main__":
    main()

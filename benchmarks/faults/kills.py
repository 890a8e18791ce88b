"""SIGKILLs at random moments of training, mid-epoch saves among them: does every resume end where it would have?

    nice -n 15 python benchmarks/faults/kills.py                # 100 kills; resumable; results/faults/kills.jsonl
    python benchmarks/faults/kills.py --table

Dense, pruned and quantization-aware runs of four epochs, saved after every optimizer step and averaged (`EMA`), are
killed and resumed until they finish; then a new one begins. At the end the weights, their averages, the optimizer and
the best model must be bit for bit those of a run that nothing stopped, and no temporary file may be left.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from pathlib import Path

from harness import RESULTS as FOLDER
from harness import append, machine, read_results
from runs import KINDS, finished, killed, leftovers, run, same_states, started, timed
from support.project import make_project

RESULTS = FOLDER / "kills.jsonl"
ENDINGS = (".pdparams", ".pdema", ".pdopt", ".slim.json")
SETTINGS = (
    "Global.epochs=4",
    "Global.save_every={steps: 1}",
    "DataLoader.Train.sampler.batch_size=3",
    "Global.save_interval=2",
)


def lives(kind: str, number: int, config: Path, whole: Path, length: float) -> dict[str, object]:
    """One run, killed until it finishes: how often, within how many saves, and what is not as it should be."""
    draw = random.Random(f"{kind} {number}")
    output = config.parent / f"run-{kind}-{number}"
    folder = output / "CIFARResNet8"
    overrides = [*SETTINGS, *KINDS[kind], f"Global.output_dir={output}"]
    kills = within = lost = 0
    while True:
        there = (folder / "latest.pdstates").exists()
        start = [f"Global.checkpoints={folder}/latest"] if there else []
        before = set(leftovers(output))
        child = started("train", config, *overrides, *start, log=config.parent / "log.txt")
        if kills < 12 and killed(child, draw.uniform(0.0, length)):
            kills += 1
            within += bool(set(leftovers(output)) - before)
            lost += there and not (folder / "latest.pdstates").exists()
            continue
        code = finished(child) if kills >= 12 else 0
        break
    bad = [] if code == 0 else [f"exit code {code}"]
    for name in ("latest", "best_model", "epoch_2", "epoch_4"):
        bad += [f"{name}{ending}" for ending in same_states(folder / name, whole / name, ENDINGS)]
    bad += leftovers(output) + ["a checkpoint was lost"] * lost
    shutil.rmtree(output)
    return {"kills": kills, "within_saves": within, "bad": bad}


def main() -> None:
    """Read the arguments; run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--table", action="store_true", help="print what has been found so far")
    args = parser.parse_args()
    done = read_results(RESULTS)
    if not args.table:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="faults-kills-") as root:
            config = make_project(Path(root) / "project", EMA={"decay": 0.9})
            wholes, lengths = {}, {}
            for kind, slim in KINDS.items():
                wholes[kind] = Path(root) / f"whole-{kind}"
                overrides = [*SETTINGS, *slim, f"Global.output_dir={wholes[kind]}"]
                lengths[kind] = timed(lambda: run("train", config, *overrides, log=Path(root) / "log.txt"))  # noqa: B023
            number = 0
            while sum(row["kills"] for row in done.values()) < args.kills:
                for kind in KINDS:
                    cell = f"{kind}/{number}"
                    if cell not in done:
                        row = lives(kind, number, config, wholes[kind] / "CIFARResNet8", lengths[kind])
                        done[cell] = {"cell": cell, **row, "machine": machine(), "date": time.strftime("%Y-%m-%d")}
                        append(RESULTS, done[cell])
                        print(done[cell], flush=True)
                number += 1
    kills, within = (sum(row[key] for row in done.values()) for key in ("kills", "within_saves"))
    bad = [f"{cell}: {row['bad']}" for cell, row in done.items() if row["bad"]]
    print(f"{len(done)} runs, {kills} kills, {within} of them within a save; {len(bad)} not as they should be", *bad)


if __name__ == "__main__":
    main()

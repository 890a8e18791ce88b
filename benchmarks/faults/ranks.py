"""1, 2 and 4 processes on gloo with the same global batch: losses and scores, and what `eval` says of the saved file.

    nice -n 15 python benchmarks/faults/ranks.py                # resumable; results/faults/ranks.jsonl
    python benchmarks/faults/ranks.py --table

A dense, a pruned and a quantization-aware network train four epochs on 96 pictures in batches of 16, 8 or 4 for each
process, with batch norms over all of them (`use_sync_bn`) and without. Training's own evaluation must be what `eval`
says of the file that it saved, to the last digit that is told; where batch norms are synchronised, the losses are those
of one process.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import RESULTS as FOLDER
from harness import ROOT, append, machine, read_results
from runs import KINDS
from support.project import make_project, write_images

from ppcls_compress import io

RESULTS = FOLDER / "ranks.jsonl"
EPOCHS = 4


def main() -> None:
    """Read the arguments; run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print what has been found so far")
    args = parser.parse_args()
    done = read_results(RESULTS)
    if not args.table:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="faults-ranks-") as root:
            config = make_project(Path(root) / "project")
            lines = write_images(config.parent / "images" / "more", 96, seed=5)
            (config.parent / "images" / "train_list.txt").write_text("\n".join(lines) + "\n")
            for kind in KINDS:
                for synchronised in (True, False):
                    for count in (1, 2, 4):
                        cell = f"{kind}/{'synchronised' if synchronised else 'apart'}/{count}"
                        if cell not in done:
                            row = measured(config, Path(root) / cell, kind, synchronised, count)
                            done[cell] = {"cell": cell, **row, "machine": machine(), "date": time.strftime("%Y-%m-%d")}
                            append(RESULTS, done[cell])
                            print(cell, row, flush=True)
    print("| network | batch norms | processes | loss by epoch | evaluation | `eval` of the file |")
    print("|---|---|---|---|---|---|")
    for cell, row in done.items():
        losses = " ".join(f"{loss:.4f}" for loss in row["losses"])
        print(f"| {' | '.join(cell.split('/'))} | {losses} | {row['told']} | {row['evaluated']} |")


def measured(config: Path, out: Path, kind: str, synchronised: bool, count: int) -> dict[str, object]:
    """Losses by epoch, the last evaluation of training, and what `eval` says of its file."""
    overrides = [
        *KINDS[kind],
        f"Arch.use_sync_bn={synchronised}",
        f"Global.epochs={EPOCHS}",
        f"Global.output_dir={out}",
        f"DataLoader.Train.sampler.batch_size={16 // count}",
    ]
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", str(count), "--backend", "gloo"]
    launch += ["--log_dir", f"{out}-log"]
    _call([*(launch if count > 1 else []), str(ROOT / "tools/train.py")], config, overrides)
    folder = out / "CIFARResNet8"
    log = (folder / "train.log").read_text()
    losses = [float(loss) for loss in re.findall(rf"epoch \d/{EPOCHS}: loss ([\d.]+)", log)]
    told = re.findall(rf"epoch {EPOCHS}/{EPOCHS}, evaluation: (.*); best", log)[0]
    report = out / "score.json"
    weights = f"Global.pretrained_model={folder}/latest"
    _call([str(ROOT / "tools/eval.py"), "--json", str(report)], config, [*overrides, weights])
    found = io.read_json(report)
    found = found.get("metrics", found)
    names = re.findall(r"(\w+) [\d.]+", told)
    evaluated = ", ".join(
        f"{name} {found[name]:.4f}" if name == "loss" else f"{name} {100 * found[name]:.2f}%" for name in names
    )
    return {"losses": losses, "told": told, "evaluated": evaluated, "equal": told == evaluated}


def _call(words: list[str], config: Path, overrides: list[str]) -> None:
    command = [sys.executable, *words, "-c", str(config), *(part for text in overrides for part in ("-o", text))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()

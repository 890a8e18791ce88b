"""SIGKILLs at random moments of a search for a contract: the same command goes on, and chooses the same network.

    nice -n 15 python benchmarks/faults/search_kills.py --kills 20        # results/faults/search_kills.json

One search runs undisturbed. Another with the same seed is killed, with all that it started, after a random time, and
started again, until so many kills are through; then it is let finish. Both must have trained the same candidates with
the same results, and chosen the same one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import RESULTS as FOLDER
from harness import machine
from runs import run
from support.project import make_project

RESULTS = FOLDER / "search_kills.json"
ROOT = Path(__file__).resolve().parents[2]
CONTRACT = "Slim.auto={max_drop: 80, target: {params: 0.6}, runtime: onnx-ort, budget: {trials: 3, epochs: 1}}"
LONGEST = 60.0
"""Seconds, at most, until a kill."""


def main() -> None:
    """Read the arguments; run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    args = parser.parse_args()
    draw = random.Random(args.kills)
    with tempfile.TemporaryDirectory(prefix="faults-search-") as root:
        config = make_project(Path(root) / "project")
        run("train", config, "Global.epochs=1", f"Global.output_dir={root}/dense")
        alone = _finished(_started(root, config, "alone"))
        kills, ended = 0, False
        while kills < args.kills and not ended:
            child = _started(root, config, "killed")
            try:
                child.wait(timeout=draw.uniform(1.0, LONGEST))
                ended = True
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                kills += 1
                print(
                    f"kill {kills}: {len(list(_folder(root, 'killed').glob('trials/*/row.json')))} trained", flush=True
                )
        code = alone if ended and child.returncode == 0 else _finished(_started(root, config, "killed"))
        first, second = (_told(_folder(root, name)) for name in ("alone", "killed"))
    found = {"kills": kills, "codes": [alone, code], "chosen": first["chosen"], "same": first == second}
    found |= {"trainings": len(first["rows"]), "machine": machine(), "date": time.strftime("%Y-%m-%d")}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(found)
    sys.exit(0 if found["same"] else 1)


def _started(root: str, config: Path, name: str) -> subprocess.Popen:
    weights = f"{root}/dense/CIFARResNet8/latest"
    overrides = (CONTRACT, f"Global.pretrained_model={weights}", f"Global.output_dir={root}/{name}")
    words = [sys.executable, str(ROOT / "tools" / "compress.py"), "-c", str(config)]
    words += [part for text in overrides for part in ("-o", text)]
    return subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True)


def _finished(child: subprocess.Popen) -> int:
    return child.wait()


def _folder(root: str, name: str) -> Path:
    return Path(root) / name / "CIFARResNet8" / "compress"


def _told(folder: Path) -> dict:
    """What a search found, without how long it took."""
    rows = json.loads((folder / "tried.json").read_text(encoding="utf-8"))
    contract = folder / "result" / "contract.json"
    chosen = json.loads(contract.read_text(encoding="utf-8"))["name"] if contract.exists() else None
    return {"chosen": chosen, "rows": [{key: row[key] for key in row if key != "seconds"} for row in rows]}


if __name__ == "__main__":
    main()

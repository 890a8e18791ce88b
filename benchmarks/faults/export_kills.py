"""SIGKILLs at random moments of an export over an earlier one: the old artifact or the new one, never a mix.

    nice -n 15 python benchmarks/faults/export_kills.py         # 30 kills; resumable; results/faults/export_kills.jsonl

Two networks of one structure are exported in turn to the same folder, in Paddle's own format, and killed on the way.
After each kill the folder must hold what one of them was exported to: a description whose checksums are those of the
files, of the one network or the other. Every fifth time the next export is let finish, and leaves nothing else behind.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from harness import RESULTS as FOLDER
from harness import append, machine, read_results
from runs import finished, killed, leftovers, run, started, timed
from support.project import make_project

from ppcls_compress.deploy import artifact

RESULTS = FOLDER / "export_kills.jsonl"


def main() -> None:
    """Read the arguments; run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    args = parser.parse_args()
    done = read_results(RESULTS)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="faults-export-") as root:
        config = make_project(Path(root) / "project")
        for seed in (0, 1):
            run("train", config, "Global.epochs=1", f"Global.seed={seed}", f"Global.output_dir={root}/{seed}")
        networks = {}
        lengths = []
        for seed in (0, 1):
            lengths.append(timed(lambda: run("export_model", *_export(root, config, seed, f"{root}/alone{seed}"))))  # noqa: B023
            networks[artifact.load(f"{root}/alone{seed}").description.network] = seed
        folder = Path(root) / "artifact"
        run("export_model", *_export(root, config, 0, folder))
        number = len(done)
        while sum(row["killed"] for row in done.values()) < args.kills:
            row = _killed_export(root, config, folder, number, max(lengths), networks)
            done[f"{number}"] = {"cell": f"{number}", **row, "machine": machine(), "date": time.strftime("%Y-%m-%d")}
            append(RESULTS, done[f"{number}"])
            print(number, row, flush=True)
            number += 1
    print(f"{len(done)} kills, {sum(row['killed'] for row in done.values())} while it ran,", end=" ")
    print(f"{sum(row['held'] == 'new' for row in done.values())} after the new one had taken its place,", end=" ")
    print(f"{sum(bool(row['bad']) for row in done.values())} not as they should be")


def _export(root: str, config: Path, seed: int, folder: str | Path) -> list[object]:
    weights = f"Global.pretrained_model={root}/{seed}/CIFARResNet8/latest"
    images = "Global.export_check_images=1"
    return [config, "--format=paddle", weights, images, f"Global.save_inference_dir={folder}"]


def _killed_export(
    root: str, config: Path, folder: Path, number: int, length: float, networks: dict[str, int]
) -> dict[str, object]:
    before = networks[artifact.load(folder).description.network]
    seed = 1 - before
    # Half of the kills near the end, where files take their places.
    after = random.Random(number).uniform(0, length) if number % 2 else random.Random(number).uniform(0.6, 1.0) * length
    child = started("export_model", *_export(root, config, seed, folder), "--overwrite")
    running = killed(child, after)
    bad = []
    try:
        held = "new" if networks[artifact.load(folder).description.network] == seed else "old"
    except Exception as error:  # whatever it is, it is what is looked for
        held, bad = "nothing", [str(error)]
    if number % 5 == 4:
        code = finished(started("export_model", *_export(root, config, seed, folder), "--overwrite"))
        bad += [f"the next export ended with {code}"] if code else []
        bad += leftovers(folder)
    return {"killed": running, "held": held, "after_s": round(after, 2), "bad": bad}


if __name__ == "__main__":
    main()

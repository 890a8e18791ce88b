"""SIGKILLs at random moments of a search for a contract, and two workers on one storage of each kind: the same choice.

    nice -n 15 python benchmarks/faults/search_kills.py --work DIR --kills 20      # results/faults/search_kills.json
    ... --config FILE --weights PREFIX --auto '{max_drop: ..., target: {bytes: 0.15}, ...}' [-o KEY=VALUE ...]

One search runs undisturbed. A second with the same seed is killed, with all that it started, after a random time, and
started again, until so many kills are through; then it is let finish. A third is led by one process and helped by
another over a journal, a fourth so over its own file of SQLite. All must have trained the same candidates with the same
results, and chosen the same one; no job may be done twice, and none lost. Without `--config` it is a small project of
pictures; a contract about latency does not do, for no two measurements are alike. What is in DIR is gone on from, kills
counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from harness import RESULTS as FOLDER
from harness import machine
from runs import run
from support.project import make_project

RESULTS = FOLDER / "search_kills.json"
ROOT = Path(__file__).resolve().parents[2]
AUTO = "{max_drop: 80, target: {params: 0.6}, runtime: onnx-ort, budget: {trials: 3, epochs: 1}}"
PATIENCE = 600.0


class Searches:
    """Searches of one contract in a folder.

    Args:
        root: the folder.
        args: of the command line.
    """

    def __init__(self, root: Path, args: argparse.Namespace) -> None:
        self.root, self._auto, self._more = root, args.auto, args.override
        self._config, self._weights = args.config, args.weights
        if args.config is None:
            self._config = root / "project" / "config.yaml"
            if not self._config.exists():
                make_project(root / "project")
            self._weights = root / "dense" / "CIFARResNet8" / "latest"
            if not Path(f"{self._weights}.pdparams").exists():
                run("train", self._config, "Global.epochs=1", f"Global.output_dir={root}/dense")

    def start(self, name: str, *words: str, storage: str = "null") -> subprocess.Popen:
        """A process that leads, or with `--worker` helps."""
        overrides = [f"Global.pretrained_model={self._weights}", f"Global.output_dir={self.root}/{name}", *self._more]
        overrides += [f"Slim.auto={self._auto}", f"Slim.auto.storage={storage}"]
        command = [sys.executable, str(ROOT / "tools" / "compress.py"), "-c", str(self._config), *words]
        command += [part for text in overrides for part in ("-o", text)]
        log = (self.root / f"{name}{''.join(words)}.log").open("a", encoding="utf-8")
        return subprocess.Popen(command, stderr=log, start_new_session=True)

    def folder(self, name: str) -> Path:
        """Of a search."""
        return next(iter((self.root / name).glob("*/compress")), self.root / name)

    def told(self, name: str) -> dict:
        """What a search found, without how long it took."""
        folder = self.folder(name)
        rows = json.loads((folder / "tried.json").read_text(encoding="utf-8"))
        contract = folder / "result" / "contract.json"
        chosen = json.loads(contract.read_text(encoding="utf-8"))["name"] if contract.exists() else None
        return {"chosen": chosen, "rows": [{key: row[key] for key in row if key != "seconds"} for row in rows]}

    def trained(self, name: str) -> int:
        """How many jobs of a search are done."""
        return len(list(self.folder(name).glob("trials/*/row.json")))


def main() -> None:
    """Read the arguments; run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--longest", type=float, default=60.0, help="seconds, at most, until a kill")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--auto", default=AUTO)
    parser.add_argument("-o", "--override", action="append", default=[])
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    searches = Searches(args.work.resolve(), args)
    alone = searches.start("alone").wait()
    moments, code = _killed(searches, args)
    first = searches.told("alone")
    same = first == searches.told("killed")
    found = {
        "kills": len(moments),
        "jobs done at each kill": moments,
        "codes": [alone, code],
        "chosen": first["chosen"],
    }
    found |= {"same": same, "trainings": len(first["rows"])}
    two = {
        "two workers": _two(searches, first, "two", f"{searches.root}/study.journal"),
        "two workers, SQLite": _two(searches, first, "own", None),
    }
    found |= two
    found |= {"contract": args.auto, "machine": machine(), "date": time.strftime("%Y-%m-%d")}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    sys.exit(0 if same and all(each["same"] and not each["twice"] and not each["lost"] for each in two.values()) else 1)


def _killed(searches: Searches, args: argparse.Namespace) -> tuple[list[int], int]:
    """Kill and start again; how many jobs were done at each kill, and the exit code of the end."""
    kept = searches.root / "kills.json"
    moments = json.loads(kept.read_text()) if kept.exists() else []
    draw = random.Random(args.kills)
    while len(moments) < args.kills:
        child = searches.start("killed")
        try:
            return moments, child.wait(timeout=draw.uniform(1.0, args.longest))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            moments.append(searches.trained("killed"))
            kept.write_text(json.dumps(moments))
            print(f"kill {len(moments)}: {moments[-1]} trained", flush=True)
    return moments, searches.start("killed").wait()


def _two(searches: Searches, first: dict, name: str, journal: str | None) -> dict:
    """One search by two processes: how many jobs each did, and whether any was done twice or lost.

    Args:
        journal: its storage; None for the search's own file.
    """
    leader = searches.start(name, storage=journal or "null")
    until = time.monotonic() + PATIENCE
    while not (searches.folder(name) / "identity.json").exists() and time.monotonic() < until:
        time.sleep(0.5)
    second = searches.start(name, "--worker", storage=journal or "null")
    codes = [leader.wait(), second.wait()]
    import optuna

    storage = f"sqlite:///{searches.folder(name) / 'study.db'}"
    if journal:
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(journal))
    study = optuna.load_study(study_name=None, storage=storage)
    states = Counter(trial.state.name for trial in study.trials)
    names = Counter(trial.user_attrs["job"] for trial in study.trials)
    owners = Counter(trial.user_attrs.get("owner", "nobody") for trial in study.trials)
    wanted = {row["name"] for row in first["rows"]}
    return {
        "codes": codes,
        "jobs of each": sorted(owners.values()),
        "states": dict(states),
        "twice": sorted(name for name, count in names.items() if count > 1),
        "lost": sorted(wanted - set(names)),
        "same": first == searches.told(name),
    }


if __name__ == "__main__":
    main()

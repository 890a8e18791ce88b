"""Three contracts on real images, and whether they are kept on images that neither the search nor its end has seen.

    python -m ppcls_compress.data.digits --out DIGITS
    python -m ppcls_compress.data.cifar10 --out CIFAR10
    python make_pages.py PAGES --val 3600           # with the weights of `published_model.py`, FILE.pdparams
    nice -n 12 python benchmarks/contracts.py --work DIR --digits DIGITS --cifar10 CIFAR10 --pages PAGES FILE

Each data set's lists are dealt out anew: images to train on, to search by, to decide on, and unseen ones. The dense
network is trained (or given), `tools/compress.py` searches, and then every file in its table is loaded and must give
what its row says, and the chosen one is compared with the dense one, image by image, on the unseen images. What is done
in DIR is not done again; results/contracts.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from common import machine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results" / "contracts.json"
sys.path.insert(0, str(ROOT))

CONTRACT_CODES = (0, 3)
"""Kept, or refused."""


@dataclass(frozen=True)
class Case:
    """One contract.

    Attributes:
        name: of its folder.
        dealt: of the folder of its lists and its dense network.
        images: folder with `train_list.txt` and `val_list.txt`.
        config: of the dense network.
        counts: images to train on, to search by, to decide on, and unseen; all lists together are dealt out where
            `pooled`, else training images come from the first list and the others from the second.
        auto: `Slim.auto`.
        overrides: of the configuration.
        dense_epochs: of the dense training; 0 for `weights`.
        rate: the learning rate of dense training; the search takes half of it.
        weights: of the dense network.
    """

    name: str
    dealt: str
    images: Path
    config: str
    counts: tuple[int, int, int, int]
    auto: dict[str, Any]
    overrides: tuple[str, ...] = ()
    dense_epochs: int = 0
    rate: float = 0.1
    weights: Path | None = None
    pooled: bool = False
    arch: str = "CIFARResNet20"


def cases(args: argparse.Namespace) -> list[Case]:
    """The contracts whose images are given."""
    found = []
    if args.digits:
        config, counts = "configs/quick_start/digits_resnet.yaml", (597, 200, 800, 200)
        wanted = {
            "digits_bytes": ({"bytes": 0.15}, 2),
            "digits": ({"latency": 0.6}, 8),
        }
        for name, (target, epochs) in wanted.items():
            auto = {"max_drop": 0.5, "target": target, "runtime": "openvino"}
            auto["budget"] = {"trials": 4, "epochs": epochs, "hours": 2}
            more = _named(args.digits)
            found.append(Case(name, "digits", args.digits, config, counts, auto, more, dense_epochs=40, pooled=True))
    if args.cifar10:
        auto = {"max_drop": 1.0, "target": {"bytes": 0.15}, "runtime": "openvino"}
        auto["budget"] = {"trials": 4, "epochs": 2, "hours": 2}
        more = (
            "Arch.name=CIFARMobileNetV3",
            "DataLoader.Train.sampler.batch_size=64",
            "DataLoader.Train.loader.num_workers=0",
            "DataLoader.Eval.loader.num_workers=0",
            *_named(args.cifar10),
        )
        config, counts = "configs/cifar10/resnet20.yaml", (5000, 1000, 3000, 1000)
        found.append(
            Case("cifar", "cifar", args.cifar10, config, counts, auto, more, dense_epochs=12, arch="CIFARMobileNetV3")
        )
    if args.pages:
        pages, weights = map(Path, args.pages)
        auto = {"max_drop": 0.5, "target": {"flops": 0.5}, "runtime": "openvino"}
        auto["budget"] = {"trials": 2, "epochs": 1, "hours": 2}
        config, counts = "configs/slim/PULC/text_image_orientation.yaml", (512, 300, 2700, 600)
        found.append(
            Case("pages", "pages", pages, config, counts, auto, _PAGES, rate=0.05, weights=weights, arch="PPLCNet_x1_0")
        )
    return [case for case in found if not args.only or case.name in args.only]


def _named(images: Path) -> tuple[str, str]:
    return f"Infer.PostProcess.class_id_map_file={images / 'label_list.txt'}", f"Infer.infer_imgs={images}"


_STILL = (
    "[{DecodeImage: {to_rgb: True, channel_first: False}}, {ResizeImage: {resize_short: 256}}, {CropImage: {size: 224}}"
    ", {NormalizeImage: {scale: 1.0/255.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], order: ''}}]"
)
_PAGES = (
    "Slim=null",
    "Arch.pretrained=False",
    "Arch.use_ssld=False",
    "Infer=null",
    "DataLoader.Train.sampler.batch_size=32",
    "DataLoader.Train.loader.num_workers=0",
    "DataLoader.Eval.loader.num_workers=0",
    f"DataLoader.Train.dataset.transform_ops={_STILL}",
)


def main() -> None:
    """Read the arguments; run each case."""
    parser = arguments(__doc__)
    parser.add_argument("--dense-only", action="store_true", help="train the dense networks, and no more")
    args = parser.parse_args()
    for case in cases(args):
        folder = (args.work / case.name).resolve()
        config = dense(case, args.work.resolve())
        if args.dense_only:
            continue
        code, seconds = searched(case, folder, config)
        keep(case.name, {**report(case, args.work.resolve(), config), "code": code, "hours": round(seconds / 3600, 2)})


def arguments(about: str) -> argparse.ArgumentParser:
    """What tells of the cases."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="what is trained goes there")
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="such as digits or cifar")
    parser.add_argument("--digits", type=Path)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--pages", nargs=2, metavar=("PAGES", "FILE"))
    return parser


def keep(name: str, found: dict[str, Any]) -> None:
    """One case's results, beside those of the others."""
    there = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    there[name] = {**found, "machine": machine(), "date": str(date.today())}
    RESULTS.write_text(json.dumps(there, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps({name: there[name]}, indent=1) + "\n")


def deal(case: Case, folder: Path) -> dict[str, Path]:
    """The four lists, dealt out by a seed."""
    lists = {name: folder / f"{name}.txt" for name in ("train", "search", "decide", "unseen")}
    if not lists["unseen"].exists():
        folder.mkdir(parents=True, exist_ok=True)
        read = [(case.images / f"{split}_list.txt").read_text().splitlines() for split in ("train", "val")]
        rng = np.random.default_rng(0)
        train, val = (list(rng.permutation(lines)) for lines in read)
        if case.pooled:
            train = list(rng.permutation([*train, *val]))
            train, val = train[: case.counts[0]], train[case.counts[0] :]
        ends = np.cumsum((0, *case.counts[1:]))
        parts = [train[: case.counts[0]], *(val[a:b] for a, b in pairwise(ends))]
        for file, lines in zip(lists.values(), parts, strict=True):
            file.write_text("\n".join(lines) + "\n")
    return lists


def dense(case: Case, work: Path) -> list[str]:
    """Train the dense network; the arguments of all commands from then on."""
    folder = work / case.dealt
    lists = deal(case, folder)
    words = ["-c", str(ROOT / case.config)]
    overrides = [f"Global.output_dir={work / case.name}", *case.overrides]
    for split, name in (("Train", "train"), ("Eval", "search")):
        overrides += [f"DataLoader.{split}.dataset.image_root={case.images}"]
        overrides += [f"DataLoader.{split}.dataset.cls_label_path={lists[name]}"]
    words += [part for text in overrides for part in ("-o", text)]
    weights = case.weights
    if weights is None:
        weights = folder / "dense" / case.arch / "latest"
        extra = [
            f"Global.epochs={case.dense_epochs}",
            "Global.eval_interval=10",
            f"Global.output_dir={folder / 'dense'}",
        ]
        extra += [f"Optimizer.lr.learning_rate={case.rate}", "Global.save_interval=0"]
        run_tool(
            "train", [*words, *(part for text in extra for part in ("-o", text)), "--resume"], folder / "dense.log"
        )
    # What the teacher of a search is, and what it starts from, is the same file.
    return [*words, "-o", f"Global.pretrained_model={str(weights).removesuffix('.pdparams')}",
            "-o", f"Optimizer.lr.learning_rate={case.rate / 2:g}", "-o", "Optimizer.lr.warmup_epoch=0"]  # fmt: skip


def searched(case: Case, folder: Path, config: list[str]) -> tuple[int, float]:
    """Search, or go on; the exit code, and the seconds of all trainings and of this call."""
    folder.mkdir(parents=True, exist_ok=True)
    auto = {**case.auto, "decide": str(folder.parent / case.dealt / "decide.txt")}
    begun = time.monotonic()
    code = run_tool("compress", [*config, "-o", f"Slim.auto={json.dumps(auto)}"], folder / "search.log", CONTRACT_CODES)
    return code, time.monotonic() - begun


def run_tool(command: str, words: list[str], log: Path, codes: tuple[int, ...] = (0,)) -> int:
    """Run a command of tools/; its exit code, and the end of this program where that is none of `codes`."""
    with log.open("a", encoding="utf-8") as stream:
        done = subprocess.run(
            [sys.executable, str(ROOT / "tools" / f"{command}.py"), *words], stderr=stream, check=False
        )
    if done.returncode not in codes:
        sys.exit(f"{command}: exit code {done.returncode}, see {log}")
    return done.returncode


def report(case: Case, work: Path, config: list[str]) -> dict[str, Any]:
    """What is in the table of a search, whether its files say the same, and what the chosen one loses unseen."""
    from ppcls_compress.config.load import load_config
    from ppcls_compress.search import judge

    overrides = [*config[3::2], f"Slim.auto={json.dumps(case.auto)}"]
    loaded = {
        name: load_config(
            config[1], [*overrides, f"DataLoader.Eval.dataset.cls_label_path={work / case.dealt / name}.txt"]
        )
        for name in ("search", "unseen")
    }
    place = work / case.name / case.arch / "compress"
    rows = json.loads((place / "tried.json").read_text(encoding="utf-8"))
    runtime = loaded["search"].Slim.auto.place[1]
    dense_artifact = next((place / "dense" / "artifact").iterdir())
    dense_answers = {name: judge.answers(each, dense_artifact, runtime) for name, each in loaded.items()}
    reference = judge.costs(dense_artifact, None, runtime, timed=False)
    wrong = []
    for row in rows:
        if row["artifact"] is None:
            continue
        file = place / row["artifact"]
        drop = judge.drop(loaded["search"], dense_answers["search"], judge.answers(loaded["search"], file, runtime))
        shares = judge.costs(file, None, runtime, timed=False).shares(reference)
        said = {"drop_points": drop.points, **{f"{key}_share": share for key, share in shares.items()}}
        wrong += [f"{row['name']}: {key}" for key, value in said.items() if abs(row[key] - value) > 1e-9]
    found: dict[str, Any] = {"contract": case.auto, "rows": rows, "files": sum(bool(r["artifact"]) for r in rows)}
    found |= {"rows_that_their_files_contradict": wrong, "dense": _accuracy(loaded, dense_answers)}
    result = place / "result"
    if result.exists():
        promise = json.loads((result / "contract.json").read_text(encoding="utf-8"))
        artifact = next((result / "artifact").iterdir())
        unseen = judge.answers(loaded["unseen"], artifact, runtime)
        drop = judge.drop(loaded["unseen"], dense_answers["unseen"], unseen)
        found |= {"promise": promise, "unseen": {**vars(drop), "kept": drop.points <= case.auto["max_drop"]}}
    return found


def _accuracy(configs: dict[str, Any], answers: dict[str, Any]) -> dict[str, float]:
    from ppcls_compress.search import judge

    return {
        name: round(100 * float(np.mean(judge.right(configs[name].Metric.Eval[0], rows))), 2)
        for name, rows in answers.items()
    }


if __name__ == "__main__":
    main()

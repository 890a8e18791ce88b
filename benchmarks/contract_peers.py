"""The networks of `contracts.py` beside what fixed recipes give at the same cost, image by image.

    nice -n 12 python benchmarks/contract_peers.py --work DIR --digits DIGITS [--cifar10 ...] [--pages ...]
        --nncf VENV/bin/python

takes the arguments, the folder and the dense networks of `contracts.py`, after it. A recipe has one ratio for all
layers, as far as it takes to cost what the chosen file costs, and is trained for as many epochs as the chosen network
was: FPGM and PACT; FPGM and calibration after training; FPGM and NNCF's quantization with accuracy control, which
may lose what the contract may; and that control on the dense network, whatever it costs. `--nncf` is a Python that
imports nncf, onnx and onnxruntime. Judged are the images that decide and the unseen ones, which no recipe looks at;
the interval is that of the paired difference to the chosen network. results/contract_peers.jsonl, resumable.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from common import append, machine, read_results, run_child
from contracts import Case, arguments, cases, dense, run_tool

RESULTS = Path(__file__).parent / "results" / "contract_peers.jsonl"
WORKER = Path(__file__).parent / "contract_peers_worker.py"
CALIBRATION = 300
TIME_LIMIT = 3600.0


@dataclass(frozen=True)
class Bench:
    """A case whose search is over.

    Attributes:
        case: of `contracts.py`.
        folder: of it.
        config: arguments of all commands.
        nncf: a Python.
    """

    case: Case
    folder: Path
    config: list[str]
    nncf: Path

    @property
    def place(self) -> Path:
        """Of the search."""
        return self.folder / self.case.arch / "compress"

    @property
    def promise(self) -> dict[str, Any]:
        """What the search wrote about its choice."""
        return json.loads((self.place / "result" / "contract.json").read_text(encoding="utf-8"))

    @property
    def dense_artifact(self) -> Path:
        """The dense network's file."""
        return next((self.place / "dense" / "artifact").iterdir())

    def loaded(self, name: str) -> Any:
        """The configuration with one of the four lists as `DataLoader.Eval`."""
        from ppcls_compress.config.load import load_config

        file = f"DataLoader.Eval.dataset.cls_label_path={self.folder.parent / self.case.dealt / name}.txt"
        return load_config(self.config[1], [*self.config[3::2], f"Slim.auto={json.dumps(self.case.auto)}", file])


def main() -> None:
    """Run what is not done yet; print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--nncf", type=Path, required=True)
    args = parser.parse_args()
    for case in cases(args):
        folder = (args.work / case.name).resolve()
        bench = Bench(case, folder, dense(case, args.work.resolve()), args.nncf)
        if not (bench.place / "result").exists():
            sys.exit(f"{case.name}: contracts.py has chosen nothing in {bench.place}")
        for name, recipe in RECIPES.items():
            cell = f"{case.name}: {name}"
            if cell not in read_results(RESULTS):
                found = judged(bench, recipe(bench))
                append(RESULTS, {"cell": cell, **found, "machine": machine(), "date": str(date.today())})
    show(read_results(RESULTS))


def chosen(bench: Bench) -> Path:
    """What the search chose."""
    return next((bench.place / "result" / "artifact").iterdir())


def pact(bench: Bench) -> Path:
    """FPGM with one ratio, and PACT."""
    slim = {"prune": pruned(bench, integers=True), "quant": {"name": "pact"}}
    return trained(bench, "pact", slim, slim)


def calibrated(bench: Bench) -> Path:
    """The same ratio, trained in float, then calibrated."""
    prune = pruned(bench, integers=True)
    return trained(bench, "float", {"prune": prune}, {"prune": prune, "quant": {"name": "ptq"}})


def pruned_nncf(bench: Bench) -> Path:
    """The same network in float, and NNCF."""
    prune = {"prune": pruned(bench, integers=True)}
    return controlled(bench, trained(bench, "float", prune, prune), "nncf_pruned")


def dense_nncf(bench: Bench) -> Path:
    """The dense network, and NNCF."""
    return controlled(bench, bench.dense_artifact, "nncf_dense")


RECIPES: dict[str, Callable[[Bench], Path]] = {
    "the contract's choice": chosen,
    "uniform FPGM, PACT": pact,
    "uniform FPGM, PTQ": calibrated,
    "uniform FPGM, NNCF accuracy control": pruned_nncf,
    "dense, NNCF accuracy control": dense_nncf,
}


def pruned(bench: Bench, *, integers: bool) -> dict[str, Any]:
    """The section `Slim.prune` that leaves as much as the chosen file's cost takes."""
    cost = bench.promise["cost"]
    share = bench.promise["shares"][cost]
    counts = "params" if cost in ("bytes", "params") else "flops"
    anchors = bench.place / "anchors.json"
    if anchors.exists():
        from ppcls_compress.search import shares

        kept, prices = shares.rising(
            [shares.Anchor(**each) for each in json.loads(anchors.read_text())], integers=integers
        )
        share = float(np.interp(share, prices, kept))
    return {"name": "fpgm", f"target_{counts}": round(min(share, 0.99), 4)}


def trained(bench: Bench, name: str, slim: dict[str, Any], exported: dict[str, Any]) -> Path:
    """Train with one section `Slim` for as many epochs as the chosen network was, and export with another."""
    import yaml

    recipe = yaml.safe_load((bench.place / "result" / "recipe.yaml").read_text(encoding="utf-8"))
    folder, kind = bench.folder / "peers" / name, chosen(bench).name
    where = ["-o", f"Global.output_dir={folder}", "-o", f"Global.epochs={recipe['Global']['epochs']}"]
    where += ["-o", "Global.eval_during_train=False", "-o", "Global.save_interval=0"]
    learned = ["-o", f"Slim={json.dumps(slim)}"]
    weights = folder / bench.case.arch / "latest"
    run_tool("train", [*bench.config, *where, *learned, "--resume"], bench.folder / f"{name}.log")
    if slim != exported:
        words = [
            *bench.config,
            *where,
            "-o",
            f"Slim={json.dumps(exported)}",
            "-o",
            f"Global.pretrained_model={weights}",
        ]
        run_tool("quantize", words, bench.folder / f"{name}.log")
        weights = weights.with_name("quantized")
    out = folder / ("exported" if slim == exported else "calibrated")
    words = [*bench.config, *where, "-o", f"Slim={json.dumps(exported)}", "-o", f"Global.pretrained_model={weights}"]
    # A recipe is judged by what its file answers, so one answer more that is not the trained network's is no matter.
    words += [
        "-o",
        f"Global.save_inference_dir={out}",
        "--format",
        kind,
        "-o",
        f"Global.export_agreement={{{kind}: 0.98}}",
    ]
    run_tool("export_model", words, bench.folder / f"{name}.log")
    return out / kind


def controlled(bench: Bench, source: Path, name: str) -> Path:
    """NNCF's quantization of a float file, which looks at the images of the search for what it loses."""
    from ppcls_compress.deploy import artifact
    from ppcls_compress.engine import samples

    folder = bench.folder / "peers" / name
    folder.mkdir(parents=True, exist_ok=True)
    search = bench.loaded("search")
    calibration = samples.from_split(search, ("Train",), CALIBRATION)
    validation = samples.from_split(search, ("Eval",), bench.case.counts[1])
    np.savez(folder / "images.npz", calibration=calibration.images, images=validation.images, labels=validation.labels)
    target = folder / "model.onnx"
    drop = bench.case.auto["max_drop"] / 100
    command = [
        str(bench.nncf),
        str(WORKER),
        str(source / "model.onnx"),
        str(folder / "images.npz"),
        str(target),
        str(drop),
    ]
    found, why = run_child(command, timeout=TIME_LIMIT)
    if found is None:
        sys.exit(f"{name}: {why}")
    about = artifact.load(source).description
    artifact.write_description(folder, artifact.Description(
        about.image_shape, output=about.output, format=about.format, params=about.params, flops=about.flops
    ))  # fmt: skip
    return folder


def judged(bench: Bench, file: Path) -> dict[str, Any]:
    """What a file costs, and its answers beside those of the chosen one."""
    from ppcls_compress.search import judge

    config = bench.loaded("search")
    runtime = config.Slim.auto.place[1]
    timed = bench.promise["cost"] == "latency"
    dense_costs = judge.costs(bench.dense_artifact, None, runtime, timed=False)
    found: dict[str, Any] = {
        "shares": judge.costs(file, bench.dense_artifact, runtime, timed=timed).shares(dense_costs)
    }
    found["cost"] = bench.promise["cost"]
    for name in ("decide", "unseen"):
        images = bench.loaded(name)
        metric = images.Metric.Eval[0]
        own, other = (judge.right(metric, judge.answers(images, each, runtime)) for each in (file, chosen(bench)))
        found[name] = {"images": len(own), "top1": 100 * float(own.mean()), **behind(own, other)}
    return found


def behind(own: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Points that a file is behind the chosen one, with the 95% interval of the paired difference."""
    from ppcls_compress.search.bounds import paired_bound

    lost, gained, count = int((other & ~own).sum()), int((own & ~other).sum()), len(own)
    return {
        "behind": 100 * (lost - gained) / count,
        "low": -100 * paired_bound(gained, lost, count, 0.025),
        "high": 100 * paired_bound(lost, gained, count, 0.025),
    }


def show(results: dict[str, dict]) -> None:
    """A table."""
    for cell, found in results.items():
        told = [f"{found['shares'][found['cost']]:7.1%} of {found['cost']:8}"]
        for name in ("decide", "unseen"):
            each = found[name]
            told.append(
                f"{name}: {each['top1']:6.2f} of {each['images']}, behind {each['behind']:+5.2f} "
                f"[{each['low']:+.2f}, {each['high']:+.2f}]"
            )
        sys.stdout.write(f"{cell:48} {'  '.join(told)}\n")


if __name__ == "__main__":
    main()

"""CIFAR-10 classes as identities: train, prune, quantize, export, and hold Recall@1 and mAP against brute force.

    python benchmarks/retrieval_cifar10.py --work DIR [--source FOLDER]

FOLDER holds what `ppcls_compress.data.cifar10 --source` takes; left out, the official archive is downloaded. Of each
class 300 training images are trained on, 200 others are the gallery, and 50 validation images are looked for. The
reference embeds the images itself, one batch at a time, and ranks the gallery of each query in double precision.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from ppcls_compress.data.cifar10 import write_cifar10

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "cifar10" / "retrieval_resnet8.yaml"
SPLITS = {"train": ("train", 0, 300), "gallery": ("train", 1000, 1200), "query": ("val", 0, 50)}
ROWS = {
    "float": [],
    "fpgm 30%": ["Slim.prune={name: fpgm, pruned_ratio: 0.3}"],
    "pact 8 bits": ["Slim.quant={name: pact}"],
    "fpgm 30%, pact": ["Slim.prune={name: fpgm, pruned_ratio: 0.3}", "Slim.quant={name: pact}"],
}
BATCH = 250  # as configured: in a quantized network, how sums are cut decides ties of rounding
CLOSE = 1e-5  # of mAP: similarities in single precision put images that are nearly as similar in another order
FINE_TUNING = ["Global.epochs=1", "Optimizer.lr.learning_rate=0.02", "Optimizer.lr.warmup_epoch=0"]


def write_lists(folder: Path) -> None:
    """The lists of the three splits, each class in the order of its own list."""
    for name, (split, first, last) in SPLITS.items():
        by_class = defaultdict(list)
        for line in (folder / f"{split}_list.txt").read_text().splitlines():
            by_class[line.rpartition(" ")[2]].append(line)
        chosen = [line for key in sorted(by_class) for line in by_class[key][first:last]]
        (folder / f"retrieval_{name}_list.txt").write_text("\n".join(chosen) + "\n")


def tool(name: str, *arguments: str) -> None:
    """One command of this toolkit."""
    command = [sys.executable, str(ROOT / "tools" / f"{name}.py"), "-c", str(CONFIG), *arguments]
    subprocess.run(command, check=True)


def overrides(values: list[str]) -> list[str]:
    """`-o` before each."""
    return [part for value in values for part in ("-o", value)]


def brute_force(weights: str, values: list[str], folder: Path) -> dict[str, float]:
    """Recall@1 and mAP, each query by itself."""
    import paddle

    from ppcls_compress.config.load import load_config
    from ppcls_compress.data import build_pipeline, read_image
    from ppcls_compress.engine import assemble

    config = load_config(CONFIG, [f"Global.pretrained_model={weights}", *values])
    model, _ = assemble.build_model(config)
    model.eval()
    pipeline = build_pipeline(config.DataLoader.Eval.query.dataset.transform_ops)
    features, labels = {}, {}
    for split in ("query", "gallery"):
        lines = [line.split() for line in (folder / f"retrieval_{split}_list.txt").read_text().splitlines()]
        images = np.stack([pipeline(read_image(folder / name)) for name, _ in lines])
        with paddle.no_grad():
            batches = np.split(images, range(BATCH, len(images), BATCH))
            parts = [model(paddle.to_tensor(part))["features"].numpy() for part in batches]
        found = np.concatenate(parts).astype(np.float64)
        features[split] = found / np.linalg.norm(found, axis=1, keepdims=True)
        labels[split] = np.array([int(label) for _, label in lines])
    first, average = [], []
    for feature, label in zip(features["query"], labels["query"], strict=True):
        order = sorted(range(len(labels["gallery"])), key=(-(features["gallery"] @ feature)).__getitem__)
        places = [place for place, index in enumerate(order, start=1) if labels["gallery"][index] == label]
        first.append(places[0] == 1)
        average.append(sum((index + 1) / place for index, place in enumerate(places)) / len(places))
    return {"recall1": float(np.mean(first)), "mAP": float(np.mean(average))}


def measure(name: str, values: list[str], work: Path, folder: Path) -> dict[str, float]:
    """Train a row from the float weights, export it, and evaluate checkpoint and artifact."""
    place = work / name.replace(" ", "_").replace("%", "").replace(",", "")
    own = [*values, f"Global.output_dir={place}", f"Global.save_inference_dir={place}/inference"]
    start = [] if name == "float" else [f"Global.pretrained_model={work}/float/RecModel/latest", *FINE_TUNING]
    tool("train", *overrides([*own, *start]))
    weights = f"{place}/RecModel/latest"
    trained = [*own, f"Global.pretrained_model={weights}"]
    tool("eval", *overrides(trained), "--json", f"{place}/eval.json")
    tool("export_model", *overrides(trained))
    tool("eval", *overrides(trained), "--artifact", f"{place}/inference", "--json", f"{place}/artifact.json")
    found, artifact = (json.loads((place / file).read_text()) for file in ("eval.json", "artifact.json"))
    reference = brute_force(weights, own, folder)
    return {
        **found,
        "reference recall1": reference["recall1"],
        "reference mAP": reference["mAP"],
        "artifact recall1": artifact["recall1"],
        "artifact mAP": artifact["mAP"],
    }


def main() -> None:
    """Print a row for each network, and fail where a score is not that of the reference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", required=True, type=Path, help="folder for images and runs")
    parser.add_argument("--source", nargs="*", default=[], help="what the images are made from")
    args = parser.parse_args()
    folder = args.work / "cifar10"
    write_cifar10(folder, args.source)
    write_lists(folder)
    os.environ["CIFAR10_DIR"] = str(folder.resolve())
    rows = {name: measure(name, values, args.work.resolve(), folder) for name, values in ROWS.items()}
    print("| network | Recall@1 | brute force | mAP | brute force | artifact: Recall@1 | mAP |")
    print("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        keys = ("recall1", "reference recall1", "mAP", "reference mAP", "artifact recall1", "artifact mAP")
        print(f"| {name} | {' | '.join(f'{100 * row[key]:.3f}' for key in keys)} |")
    wrong = [
        name
        for name, row in rows.items()
        if row["recall1"] != row["reference recall1"] or abs(row["mAP"] - row["reference mAP"]) > CLOSE
    ]
    if wrong:
        raise SystemExit(f"not the reference's numbers: {', '.join(wrong)}")


if __name__ == "__main__":
    main()

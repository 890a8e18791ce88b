"""Two attributes of handwritten digits from training to inference, each score beside scikit-learn's.

    OMP_NUM_THREADS=1 python benchmarks/digit_attributes.py --work DIR

A CIFAR-style ResNet-8 is trained dense on `python -m ppcls_compress.data.digits --attributes`, then pruned and
quantized from there, by the commands of this toolkit alone. Printed are all values of ATTRMetric, of the checkpoint
(tools/eval.py) and of the exported network (tools/eval.py --artifact), and what scikit-learn computes from the answers
of tools/infer.py --artifact on the same images. The program fails if the last two differ.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from ppcls_compress.data import digits

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "quick_start" / "digits_attributes.yaml"
RUNS = {
    "dense": ("null", 8, 0.1),
    "fpgm + pact": ("{prune: {name: fpgm, pruned_ratio: 0.3}, quant: {name: pact}}", 4, 0.02),
}


def call(tool: str, *arguments: str, **settings: object) -> str:
    """Run a command of this toolkit; its standard output."""
    overrides = [part for key, value in settings.items() for part in ("-o", f"{key.replace('__', '.')}={value}")]
    command = [sys.executable, str(ROOT / "tools" / f"{tool}.py"), "-c", str(CONFIG), *arguments, *overrides]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def reference(labels: np.ndarray, said: np.ndarray) -> dict[str, float]:
    """ATTRMetric's values by scikit-learn, from labels and answers [N, C]."""
    zero = {"zero_division": 0}
    precision = precision_score(labels, said, average="samples", **zero)
    recall = recall_score(labels, said, average="samples", **zero)
    positive = recall_score(labels, said, average="macro", **zero)
    negative = recall_score(1 - labels, 1 - said, average="macro", **zero)
    return {
        "ma": (positive + negative) / 2,
        "label_f1": f1_score(labels, said, average="macro", **zero),
        "label_pos_recall": positive,
        "label_neg_recall": negative,
        "instance_f1": 2 * precision * recall / (precision + recall),
        "instance_acc": jaccard_score(labels, said, average="samples", **zero),
        "instance_prec": precision,
        "instance_recall": recall,
    }


def answers(artifact: Path, data: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the validation images, and what the exported network says of them, [N, C]."""
    listed = [line.split("\t") for line in (data / "val_list.txt").read_text().splitlines()]
    paths = folder / "images.txt"
    paths.write_text("".join(f"{data / name}\n" for name, _ in listed))
    told = call("infer", "--artifact", str(artifact), Infer__infer_imgs=paths)
    by_name = {answer["file_name"]: answer["class_ids"] for answer in map(json.loads, told.splitlines())}
    labels = np.array([list(map(int, text.split(","))) for _, text in listed])
    said = np.zeros_like(labels)
    for row, (name, _) in enumerate(listed):
        said[row, by_name[str(data / name)]] = 1
    return labels, said


def main() -> int:
    """Train, export, evaluate, infer, compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for data, weights and exports")
    work = parser.parse_args().work.resolve()
    data, start, equal = work / "digits", "null", True
    digits.write_digits(data, attributes=True)
    lists: dict[str, object] = {}
    for mode, split in (("Train", "train"), ("Eval", "val")):
        lists[f"DataLoader__{mode}__dataset__image_root"] = data
        lists[f"DataLoader__{mode}__dataset__cls_label_path"] = data / f"{split}_list.txt"
    lists["Infer__PostProcess__class_id_map_file"] = data / "label_list.txt"
    for name, (slim, epochs, rate) in RUNS.items():
        folder = work / name.replace(" ", "")
        common = {**lists, "Slim": slim, "Global__save_inference_dir": folder / "inference"}
        trained = {"Global__output_dir": folder, "Global__epochs": epochs, "Optimizer__lr__learning_rate": rate}
        call("train", **common, **trained, Global__pretrained_model=start)
        start = folder / "CIFARResNet8" / "best_model"
        call("eval", "--json", str(folder / "model.json"), **common, Global__pretrained_model=start)
        call("export_model", "--overwrite", **common, Global__pretrained_model=start)
        exported = ("--artifact", str(folder / "inference"), "--json", str(folder / "artifact.json"))
        call("eval", *exported, **common)
        model, artifact = (json.loads((folder / f"{kind}.json").read_text()) for kind in ("model", "artifact"))
        expected = reference(*answers(folder / "inference", data, folder))
        sys.stdout.write(f"\n| {name} | checkpoint | exported | scikit-learn |\n|---|---|---|---|\n")
        for key, value in expected.items():
            sys.stdout.write(f"| {key} | {model[key]:.4f} | {artifact[key]:.4f} | {value:.4f} |\n")
            equal &= abs(artifact[key] - value) < 1e-9
    sys.stdout.write(f"\nexported equals scikit-learn: {equal}\n")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())

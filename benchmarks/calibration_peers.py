"""Calibrations of several trained networks: ours, ONNX Runtime's and NNCF's, in the exported files' own runtimes.

    export CIFAR10_DIR=...    # made by python -m ppcls_compress.data.cifar10 --out ...
    OMP_NUM_THREADS=1 python benchmarks/calibration_peers.py --pages PAGES --work DIR --peers VENV/bin/python
        [--only NETWORK ...]

A ResNet-20 and a MobileNetV3 are trained on every tenth image of CIFAR-10, a MobileNetV3 at 224 px on the pages of
`published_model.py`, from random weights and for a few epochs each. All methods then calibrate on the same 512 training
images. Below each table stands each of our rows beside the best of the peers. Finished cells are kept in
DIR/NETWORK/cells.jsonl, a training that was stopped goes on from its last epoch. `--peers` is a Python that imports
nncf, openvino and onnxruntime.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pages
from calibrations import (
    FLOAT,
    PEERS,
    PTQ,
    RUNTIMES,
    Job,
    Subject,
    calibrated,
    difference,
    files,
    float_file,
    keep_images,
    peer,
    rights,
    run_jobs,
    table,
)
from common import every_nth, read_results, trained

ROOT = Path(__file__).resolve().parents[1]
CIFAR = ROOT / "configs" / "cifar10" / "resnet20.yaml"
CALIBRATION, TRAINED_ON = 512, 5000
OURS = {
    "default": {},
    "min-max": {"activation_quantizer": "AbsmaxQuantizer"},
    "MSE": {"activation_quantizer": "MSEQuantizer"},
}


def on_cifar(args: argparse.Namespace, arch: str, work: Path) -> Subject:
    """Trained on every tenth training image of CIFAR-10, judged on all validation images."""
    from ppcls_compress.config.load import load_config
    from ppcls_compress.engine import samples

    listed = work / "train_list.txt"
    listed.write_text(every_nth(Path(os.environ["CIFAR10_DIR"], "train_list.txt"), TRAINED_ON))
    settings = {
        "Global.epochs": args.cifar_epochs,
        "Global.eval_during_train": False,
        "Optimizer.lr.learning_rate": 0.05,
        "Optimizer.lr.warmup_epoch": 0.25,
        "DataLoader.Train.sampler.batch_size": 64,
        "DataLoader.Train.dataset.cls_label_path": listed,
    }
    prefix = trained(CIFAR, work / "run", arch, settings)
    if not (work / "validation_labels.npy").exists():
        config = load_config(CIFAR, [f"Arch.name={arch}", f"DataLoader.Train.dataset.cls_label_path={listed}"])
        for name, mode, count in (("calibration", "Train", CALIBRATION), ("validation", "Eval", 10**6)):
            found = samples.from_split(config, (mode,), count)
            keep_images(work, name, found.images, found.labels.reshape(-1))
    return Subject(arch, 10, prefix, work, ("validation",))


def on_pages(args: argparse.Namespace, arch: str, work: Path) -> Subject:
    """Trained on all training pages, judged as the published network is."""
    pages.prepare(args.pages, work)
    settings = {
        "Global.epochs": args.pages_epochs,
        "Optimizer.lr.learning_rate": 0.1,
        "Optimizer.lr.warmup_epoch": 0.25,
    }
    prefix = trained(pages.config(args.pages, work), work / "run", arch, settings)
    return Subject(arch, pages.CLASSES, prefix, work, pages.SPLITS)


CASES = {
    "CIFARResNet20": on_cifar,
    "CIFARMobileNetV3": on_cifar,
    "MobileNetV3_small_x0_35": on_pages,
}
"""By network, what trains it in a folder and prepares its images there."""


def main() -> None:
    """Train and calibrate what is not done yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=Path, required=True, help="folder of make_pages.py")
    parser.add_argument("--work", type=Path, required=True, help="everything that is made goes there")
    parser.add_argument("--peers", type=Path, required=True, help="Python with nncf, openvino and onnxruntime")
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES), help="networks; all if left out")
    parser.add_argument("--cifar-epochs", type=int, default=6)
    parser.add_argument("--pages-epochs", type=int, default=6)
    args = parser.parse_args()
    pages.check(args.pages)
    if "CIFAR10_DIR" not in os.environ:
        parser.error("CIFAR10_DIR: is not set")
    for arch in args.only:
        work = args.work.resolve() / arch
        work.mkdir(parents=True, exist_ok=True)
        subject = CASES[arch](args, arch, work)
        run_jobs(plan(args, subject), work / "cells.jsonl", [])
        sys.stdout.write(f"\n**{arch}**\n\n{compared(subject, read_results(work / 'cells.jsonl'))}")


def plan(args: argparse.Namespace, subject: Subject) -> list[Job]:
    """What to run."""
    found = [Job((FLOAT,), lambda: float_file(subject))]
    for name, options in OURS.items():
        found.append(
            Job(
                tuple(f"ours, {name}, {layout}" for layout in RUNTIMES),
                lambda options=options: files(subject, calibrated(subject, PTQ | options), "ours"),
            )
        )
    return found + [Job((name,), lambda name=name: peer(args.peers, subject, name)) for name in PEERS]


def compared(subject: Subject, cells: dict[str, dict]) -> str:
    """The table, and each of our rows beside the best of the peers on all that is judged."""
    whole = {name: "".join(cell[split] for split in subject.splits) for name, cell in cells.items()}
    best = max(PEERS, key=lambda name: rights(whole[name]).sum())
    lines = [f"Against {best}, the best of the peers, on all {len(whole[best])} images:"]
    for name in cells:
        if name.startswith("ours"):
            lines.append("- {}: {:+.2f} ± {:.2f}".format(name, *difference(whole[name], whole[best])))
    return table(cells, subject.splits) + "\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

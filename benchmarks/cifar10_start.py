"""Float weights of ResNet-20 on CIFAR-10 for `cifar10_table.py`, trained in torch and converted with equal logits.

    python benchmarks/peer_env.py torch-pruning ~/peers/torch
    python benchmarks/cifar10_start.py --data DIR --work WORK --torch ~/peers/torch/bin/python [--epochs 60]

DIR is as for `cifar10_table.py`. On a CPU torch trains this network several times as fast as Paddle. Every epoch is
saved; the same command goes on from the last one. At the end there is WORK/start.pdparams, and only if this toolkit's
network gives the same logits with it, to 1e-4 of the largest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from cifar10_table import images_in

ROOT = Path(__file__).resolve().parents[1]
ARCH, SPLITS = "CIFARResNet20", ("train", "val")
TOLERANCE = 1e-4
NORMALIZATION = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
"""Mean and deviation, as in `configs/cifar10/resnet20.yaml` and `torch_cifar.py`."""
STATISTICS = {"running_mean": "_mean", "running_var": "_variance"}


def prepare(data: Path, path: Path) -> None:
    """Decode the images of both lists once: uint8 [N, 3, 32, 32] in RGB, and int64 labels."""
    arrays = {}
    for split in SPLITS:
        rows = [line.rsplit(" ", 1) for line in (data / f"{split}_list.txt").read_text().splitlines()]
        images = np.empty((len(rows), 3, 32, 32), np.uint8)
        for index, (name, _) in enumerate(rows):
            images[index] = cv2.imread(str(data / name))[:, :, ::-1].transpose(2, 0, 1)
        arrays |= {f"{split}_images": images, f"{split}_labels": np.array([int(label) for _, label in rows])}
    np.savez(path.with_suffix(".part.npz"), **arrays)
    path.with_suffix(".part.npz").replace(path)


def train(args: argparse.Namespace, arrays: Path, weights: Path) -> None:
    """Run torch in its own environment, its lines shown as they come."""
    script = Path(__file__).with_name("torch_cifar.py")
    settings = ["--epochs", args.epochs, "--threads", args.threads, "--seed", args.seed]
    command = [args.torch, "-W", "ignore", script, arrays, weights, *settings]
    subprocess.run([str(part) for part in [*command, *(["--bfloat16"] if args.bfloat16 else [])]], check=True)


def converted(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """torch's names and shapes to Paddle's."""
    found = {}
    for name, value in weights.items():
        prefix, _, leaf = name.rpartition(".")
        if leaf != "num_batches_tracked":
            key = f"{prefix}.{STATISTICS.get(leaf, leaf)}"
            found[key] = np.ascontiguousarray(value.T) if name == "fc.weight" else value
    return found


def convert(arrays: Path, weights: Path, out: Path) -> dict[str, float]:
    """Write the weights, if the network answers as torch's does; its top-1, and the difference in parts of the largest.

    Raises:
        SystemExit: it does not.
    """
    import paddle

    from ppcls_compress import models
    from ppcls_compress.models.weights import load_into

    with np.load(weights) as file:
        found = dict(file)
    expected = found.pop("logits")
    net = models.build(ARCH, class_num=10)
    state = converted(found)
    load_into(net, state, source=str(weights))
    net.eval()
    with np.load(arrays) as data:
        images, labels = data["val_images"], data["val_labels"]
    mean, deviation = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in NORMALIZATION)
    with paddle.no_grad():
        logits = np.concatenate(
            [
                net(paddle.to_tensor((images[at : at + 250].astype(np.float32) / 255 - mean) / deviation)).numpy()
                for at in range(0, len(images), 250)
            ]
        )
    difference = float(np.abs(logits[: len(expected)] - expected).max() / np.abs(expected).max())
    if difference > TOLERANCE:
        raise SystemExit(f"the converted network's logits differ by {difference:.1e} of the largest")
    paddle.save({name: paddle.to_tensor(value) for name, value in state.items()}, f"{out}.part")
    Path(f"{out}.part").replace(out)
    return {"top-1": float((logits.argmax(1) == labels).mean()), "difference": difference}


def main() -> None:
    """Prepare, train, convert, and write what came of it to WORK/start.json."""
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the images, or of the archive")
    parser.add_argument("--work", type=Path, required=True, help="images as arrays, and the weights")
    parser.add_argument("--torch", required=True, metavar="PYTHON", help="interpreter of torch's environment")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bfloat16", action="store_true", help="convolutions in bfloat16 while training")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    arrays, weights = args.work / "images.npz", args.work / "torch.npz"
    if not arrays.exists():
        prepare(images_in(args.data.resolve(), args.work.resolve()), arrays)
    if not weights.exists():
        train(args, arrays, weights)
    found = convert(arrays, weights, args.work / "start.pdparams")
    with np.load(arrays) as data:
        counts = {split: len(data[f"{split}_labels"]) for split in SPLITS}
    found |= {"epochs": args.epochs, "images": counts, "bfloat16": args.bfloat16}
    (args.work / "start.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()

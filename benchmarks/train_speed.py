"""Images per second of training, ours beside PaddleClas' engine: the same YAML, images and PaddlePaddle, in one run.

    python benchmarks/peer_env.py paddleclas ~/peers/paddleclas
    python benchmarks/train_speed.py --paddleclas ~/peers/paddleclas/bin/python [--turns 3] [--json FILE]
        [--same-kernels]

Both train MobileNetV3_small at 224 px on 500 x 375 JPEGs, crop and flip, batches of 32, with one thread, metrics and
log lines included, evaluation and saving not. The sides take turns, each time in a process of its own. Counted is the
time from one optimizer step to a later one, so that imports and the first batches are left out: on a busy machine that
of the processor says more than that of the clock. On AMD's processors our side lets Paddle's matrix products use all
instructions (`ppcls_compress.machine`); `--same-kernels` does so for both, and what is compared is the engines alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import emit, machine, run_child

ROOT = Path(__file__).resolve().parent.parent
CLASSES, TIME_LIMIT = 10, 900.0
WARM_UP = 3
"""Batches before the measurement starts."""


def settings(network: str, folder: Path, batch: int) -> dict:
    """The YAML of both sides."""
    decode = {"DecodeImage": {"to_rgb": True, "channel_first": False}}
    values = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "scale": "1.0/255.0", "order": ""}
    crops = [{"RandCropImage": {"size": 224}}, {"RandFlipImage": {"flip_code": 1}}]
    listed = {"name": "ImageNetDataset", "image_root": str(folder), "cls_label_path": str(folder / "list.txt")}
    part = {
        "dataset": {**listed, "transform_ops": [decode, *crops, {"NormalizeImage": values}]},
        "sampler": {"name": "DistributedBatchSampler", "batch_size": batch, "drop_last": True, "shuffle": True},
        "loader": {"num_workers": 0, "use_shared_memory": False},
    }
    return {
        "Global": {
            "checkpoints": None,
            "pretrained_model": None,
            "output_dir": str(folder / "output"),
            "device": "cpu",
            "save_interval": 1000,
            "eval_during_train": False,
            "eval_interval": 1,
            "epochs": 1,
            "print_batch_step": 10,
            "use_visualdl": False,
            "image_shape": [3, 224, 224],
            "save_inference_dir": str(folder / "inference"),
        },
        "Arch": {"name": network, "class_num": CLASSES},
        "Loss": {"Train": [{"CELoss": {"weight": 1.0}}], "Eval": [{"CELoss": {"weight": 1.0}}]},
        "Optimizer": {
            "name": "Momentum",
            "momentum": 0.9,
            "lr": {"name": "Cosine", "learning_rate": 0.01},
            "regularizer": {"name": "L2", "coeff": 0.0001},
        },
        "DataLoader": {"Train": part, "Eval": part},
        "Metric": {"Train": [{"TopkAcc": {"topk": [1, 5]}}], "Eval": [{"TopkAcc": {"topk": [1, 5]}}]},
    }


def write_images(folder: Path, count: int) -> None:
    """JPEGs as those of `transforms_speed.py`, and their list."""
    from transforms_speed import encoded

    lines = []
    for index, image in enumerate(encoded(count)):
        (folder / f"{index}.jpg").write_bytes(image)
        lines.append(f"{index}.jpg {index % CLASSES}\n")
    (folder / "list.txt").write_text("".join(lines))


def timed(train: Callable[[], None]) -> dict[str, float]:
    """Seconds of a batch while `train` runs, from one optimizer step after the warm-up to the last one."""
    import paddle

    clock, processor = [], []
    step = paddle.optimizer.Momentum.step

    def noted(self) -> None:
        step(self)
        clock.append(time.perf_counter())
        processor.append(time.process_time())

    paddle.optimizer.Momentum.step = noted
    train()
    batches = len(clock) - WARM_UP - 1
    return {name: (at[-1] - at[WARM_UP]) / batches for name, at in (("clock", clock), ("processor", processor))}


def ours(path: Path) -> None:
    """This toolkit's command."""
    sys.path.insert(0, str(ROOT))
    from ppcls_compress.cli import main

    if main(["-c", str(path)], command="train"):
        raise SystemExit("training failed")


def theirs(path: Path) -> None:
    """PaddleClas' engine; cv2 and sklearn come before paddle, as elsewhere in its environment."""
    import cv2  # noqa: F401
    import sklearn  # noqa: F401

    # isort: split
    import numpy as np
    import paddle
    from ppcls.engine.engine import Engine
    from ppcls.utils.config import AttrDict

    # It reads a loss as `.numpy()[0]`, and in PaddlePaddle 3 a number has no dimension.
    numpy = paddle.Tensor.numpy
    paddle.Tensor.numpy = lambda self: np.atleast_1d(numpy(self))

    def nested(value: object) -> object:
        if isinstance(value, dict):
            return AttrDict({key: nested(part) for key, part in value.items()})
        return [nested(part) for part in value] if isinstance(value, list) else value

    config = nested(json.loads(path.read_text()))
    config["profiler_options"] = None
    Engine(config, mode="train").train()


SIDES = {"ours": ours, "paddleclas": theirs}


def main() -> None:
    """Take turns and print the ratio; or, in a child process, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paddleclas", metavar="PYTHON", help="interpreter of PaddleClas' environment")
    parser.add_argument("--network", default="MobileNetV3_small_x1_0")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=12, help="of an epoch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--same-kernels", action="store_true", help="PaddleClas too uses all instructions")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=sorted(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--config", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        emit(timed(lambda: SIDES[args.side](args.config)))
        return
    if not args.paddleclas:
        parser.error("--paddleclas is needed: the interpreter that peer_env.py paddleclas prints")
    pythons = {"ours": sys.executable, "paddleclas": args.paddleclas}
    sys.path.insert(0, str(ROOT))
    from ppcls_compress.machine import KERNELS, matrix_kernels

    environment = {f"{library}_NUM_THREADS": str(args.threads) for library in ("OMP", "MKL", "OPENBLAS")}
    if args.same_kernels and matrix_kernels():
        environment[KERNELS] = str(matrix_kernels())
    found: dict[str, list[dict[str, float]]] = {side: [] for side in pythons}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_images(folder, args.batch * args.batches)
        # JSON is YAML, and PaddleClas' environment needs no more than the standard library for it.
        (folder / "config.yaml").write_text(json.dumps(settings(args.network, folder, args.batch)))
        for turn in range(args.turns):
            for side, python in pythons.items():
                command = [python, "-W", "ignore", __file__, "--side", side, "--config", str(folder / "config.yaml")]
                result, why = run_child(command, timeout=TIME_LIMIT, env=environment)
                if result is None:
                    raise SystemExit(f"{side}: {why}")
                found[side].append(result)
                sys.stderr.write(f"turn {turn + 1}/{args.turns} {side}: {args.batch / result['clock']:.1f} images/s\n")
    show(args, found)


def show(args: argparse.Namespace, found: dict[str, list[dict[str, float]]]) -> None:
    """Print images per second by both clocks, and the ratio of each."""
    rows = {}
    for clock in ("clock", "processor"):
        speeds = {side: args.batch / statistics.median(run[clock] for run in runs) for side, runs in found.items()}
        single = [b[clock] / a[clock] for a, b in zip(found["ours"], found["paddleclas"], strict=True)]
        rows[clock] = {**speeds, "ratio": speeds["ours"] / speeds["paddleclas"], "of single turns": sorted(single)}
        print(
            f"{args.network}, by the {clock}: ours {speeds['ours']:.1f} images/s, PaddleClas "
            f"{speeds['paddleclas']:.1f}; {rows[clock]['ratio']:.2f} times"
        )
    if args.json:
        kept = {
            "machine": machine(),
            "network": args.network,
            "same kernels": args.same_kernels,
            "turns": args.turns,
            "batch": args.batch,
            **rows,
        }
        args.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()

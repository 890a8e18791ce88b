"""Images per second of PaddlePaddle's training and inference with each code that its MKL has for matrix products.

    python benchmarks/matrix_kernels.py [--rounds 3] [--networks CIFARResNet20 ...] [--json FILE]

On a processor that is not Intel's, MKL of 2019 takes code for SSE2 ("none" in the table); this package asks for code
that the processor can run (`ppcls_compress.machine`). The kinds take turns, each in a process of its own with one
thread; counted is processor time, which says more on a machine that others use too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from common import emit, machine, run_child

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppcls_compress.machine import KERNELS, matrix_kernels

NETWORKS = {
    "CIFARResNet20": (128, 32, 6),
    "ResNet50_vd": (8, 224, 2),
    "PPLCNet_x1_0": (16, 224, 2),
    "MobileNetV3_large_x1_0": (16, 224, 2),
}
"""Images in a batch, their size, and batches that are counted."""
TIME_LIMIT = 600.0


def speed(network: str) -> dict[str, float]:
    """Images per second of processor time: of training steps, and of inference by the same network."""
    import paddle

    from ppcls_compress import models

    batch, size, count = NETWORKS[network]
    paddle.seed(0)
    net = models.build(network, class_num=10)
    optimizer = paddle.optimizer.Momentum(0.1, 0.9, parameters=net.parameters())
    images, labels = paddle.randn([batch, 3, size, size]), paddle.randint(0, 10, [batch])

    def train() -> None:
        paddle.nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
        optimizer.clear_grad()

    def infer() -> None:
        with paddle.no_grad():
            net(images)

    net.train()
    trained = counted(train, count)
    net.eval()
    return {"train": batch / trained, "infer": batch / counted(infer, count)}


def counted(step: Callable[[], None], count: int) -> float:
    """Seconds of a step, after a first one."""
    step()
    start = time.process_time()
    for _ in range(count):
        step()
    return (time.process_time() - start) / count


def main() -> None:
    """Take turns and print the table; or, in a child process, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--kinds", nargs="+", default=["", "5", "7"], help=f"values of {KERNELS}")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--network", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.network:
        emit(speed(args.network))
        return
    print(f"{machine()}; of this package's own choice here: {matrix_kernels() or 'none, as MKL chooses'}")
    print(
        f"| network | {KERNELS} | training, images/s | times | inference, images/s | times |\n|---|---|---|---|---|---|"
    )
    rows = [row for network in args.networks for row in compared(network, args.kinds, args.rounds)]
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "rounds": args.rounds, "rows": rows}, indent=1) + "\n")


def compared(network: str, kinds: list[str], rounds: int) -> list[dict[str, object]]:
    """A row for each kind, printed as well; ratios are medians over rounds of what one round has."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind in kinds:
            command = [sys.executable, "-W", "ignore", __file__, "--network", network]
            result, why = run_child(command, timeout=TIME_LIMIT, env={KERNELS: kind, "OMP_NUM_THREADS": "1"})
            if result is None:
                raise SystemExit(f"{network} with {KERNELS}={kind}: {why}")
            found[kind].append(result)
    rows = []
    for kind in kinds:
        row: dict[str, object] = {"network": network, "kind": kind}
        for what in ("train", "infer"):
            pairs = zip(found[kind], found[kinds[0]], strict=True)
            row[what] = statistics.median(run[what] for run in found[kind])
            row[f"{what}_times"] = statistics.median(one[what] / first[what] for one, first in pairs)
        rows.append(row)
        print(
            f"| {network} | {kind or 'none'} | {row['train']:.1f} | {row['train_times']:.2f} | {row['infer']:.1f} | "
            f"{row['infer_times']:.2f} |",
            flush=True,
        )
    return rows


if __name__ == "__main__":
    main()

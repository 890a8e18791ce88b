"""How long FPGM takes on ResNet50 at 224 x 224, ours against PaddleSlim 2.6.0 and Torch-Pruning 1.6.1.

    python benchmarks/peer_env.py paddleslim DIR_A
    python benchmarks/peer_env.py torch-pruning DIR_B
    python benchmarks/prune_speed.py --paddleslim DIR_A/bin/python --torch-pruning DIR_B/bin/python [--repeats 5]

Threads that wait for one another on cores that others use cost many times what they save (torch's most of all): on a
busy machine give `--threads 1`. CPU seconds are listed beside wall-clock seconds.

Every measurement is a fresh process; the sides take turns, so that a busy machine is shared fairly, and medians are
compared. All sides get the same weights and the same request: remove 30% of the filters of every convolution. Timed:
building the pruner (tracing the network) and pruning, without imports and without making the network. Multiply-adds are
counted alike, from the shapes that the pruned network's layers really see. Memory is the peak of the resident size
while building and pruning, over what was resident before, as a multiple of the weights' size.

`--network` times ours alone on other networks, one or several: those that `models.build` knows, or of PaddleClas where
`PADDLECLAS_DIR` is set. `--growth` takes six of 75 to 1,205 operators and compares what each takes to build an operator
with ResNet50: by CPU seconds, each network in the best of its turns, because the machine's other work only ever adds to
them. A small network is pruned in each process first, so that imports at first use do not count. `masks` is a hash of
what the plan removes: compare it with that of an earlier revision.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from common import draw, emit, fill, machine, reset_peak_memory, resident_memory, run_child

RATIO = 0.3
SHAPE = [1, 3, 224, 224]
TIME_LIMIT = 1200.0
GROWTH = ("ResNet18", "ResNet50", "ResNet152", "DenseNet201", "HRNet_W18_C", "EfficientNetB7")
MEASURE_OF_GROWTH = "ResNet50"


def measure(build, prune, weight_bytes: int) -> tuple[dict[str, float], object, object]:
    """Time the two steps and watch the resident memory; returns that, and what the two steps returned."""
    gc.collect()
    reset_peak_memory()
    before = resident_memory()
    start, cpu = time.perf_counter(), time.process_time()
    pruner = build()
    built, cpu_built = time.perf_counter(), time.process_time()
    plan = prune(pruner)
    done, cpu_done = time.perf_counter(), time.process_time()
    peak = resident_memory(peak=True)
    found = {
        "build": built - start,
        "prune": done - built,
        "total": done - start,
        "cpu_build": cpu_built - cpu,
        "cpu": cpu_done - cpu,
        "memory": max(peak - before, 0) / weight_bytes,
    }
    return found, pruner, plan


def paddle_macs(net) -> int:
    """Multiply-adds of convolutions and linear layers in one forward pass of a Paddle network."""
    import paddle

    total = []

    def count(layer, _inputs, output):
        shape = layer.weight.shape
        per_output = shape[0] if isinstance(layer, paddle.nn.Linear) else int(np.prod(shape[1:]))
        total.append(int(np.prod(output.shape)) * per_output)

    kinds = (paddle.nn.Conv2D, paddle.nn.Linear)
    handles = [layer.register_forward_post_hook(count) for layer in net.sublayers() if isinstance(layer, kinds)]
    with paddle.no_grad():
        net(paddle.zeros(SHAPE))
    for handle in handles:
        handle.remove()
    return sum(total)


def paddle_side(pruner_class, net) -> tuple[dict[str, object], object, object]:
    """Measure a pruner with PaddleSlim's interface; also returns the pruner and its plan."""
    import paddle

    fill(net)
    net.eval()
    before = paddle_macs(net)
    weight_bytes = sum(int(np.prod(value.shape)) * 4 for value in net.state_dict().values())
    names = [layer.weight.name for layer in net.sublayers() if isinstance(layer, paddle.nn.Conv2D)]
    found, pruner, plan = measure(
        lambda: pruner_class(net, SHAPE),
        lambda pruner: pruner.prune_vars(dict.fromkeys(names, RATIO), 0),
        weight_bytes,
    )
    return {**found, "macs_left": paddle_macs(net) / before}, pruner, plan


def hash_of(plan) -> str:
    """Twelve hexadecimal digits that stand for all masks of a plan."""
    digest = hashlib.sha256()
    for name, masks in plan.masks.items():
        for mask in masks:
            digest.update(f"{name} {mask.dims} ".encode())
            digest.update(np.asarray(mask.mask).astype("int32").tobytes())
    return digest.hexdigest()[:12]


def run_ours(network: str, *, warm: bool = False) -> dict[str, object]:
    """ppcls_compress in this interpreter; `warm` prunes a small network first."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import paddleclas_zoo

    from ppcls_compress import models
    from ppcls_compress.slim import FPGMFilterPruner

    if warm:
        paddle_side(FPGMFilterPruner, models.build("PPLCNet_x0_25"))
    root = paddleclas_zoo.directory()
    known = root is None or network in models.catalog.names()
    net = models.build(network) if known else paddleclas_zoo.build(network, root)
    found, pruner, plan = paddle_side(FPGMFilterPruner, net)
    return {**found, "operators": len(pruner.network.tracing.graph.ops), "masks": hash_of(plan)}


def run_paddleslim(network: str) -> dict[str, object]:
    """PaddleSlim in this interpreter; cv2 and sklearn come before paddle or it segfaults."""
    import logging

    import cv2  # noqa: F401
    import sklearn  # noqa: F401
    from paddle.vision import models
    from paddleslim.dygraph import FPGMFilterPruner

    logging.disable(logging.WARNING)
    return paddle_side(FPGMFilterPruner, getattr(models, network)())[0]


def run_torch_pruning(network: str) -> dict[str, object]:
    """Torch-Pruning in this interpreter, on the same network built in torch."""
    import torch
    import torch_pruning
    from torch_resnet import resnet50

    if network != "resnet50":
        raise SystemExit(f"the torch side knows resnet50 only, not {network}")
    net = resnet50().eval()
    keys = {"running_mean": "_mean", "running_var": "_variance"}
    with torch.no_grad():
        for name, value in net.state_dict().items():
            prefix, _, leaf = name.rpartition(".")
            key = f"{prefix}.{keys.get(leaf, leaf)}"
            # Paddle keeps a linear layer's weight as [in, out]; drawn that way it is the same network.
            drawn = draw(key, list(value.shape)[::-1]).T if name == "fc.weight" else draw(key, value.shape)
            value.copy_(torch.from_numpy(drawn.copy()))
    example = torch.zeros(SHAPE)
    before = torch_macs(net, example)
    weight_bytes = sum(value.numel() * 4 for value in net.state_dict().values())
    importance = torch_pruning.importance.FPGMImportance(group_reduction="first")
    found, _, _ = measure(
        lambda: torch_pruning.pruner.BasePruner(
            net, example, importance=importance, pruning_ratio=RATIO, ignored_layers=[net.fc]
        ),
        lambda pruner: pruner.step(),
        weight_bytes,
    )
    return {**found, "macs_left": torch_macs(net, example) / before}


def torch_macs(net, example) -> int:
    """Multiply-adds of convolutions and linear layers in one forward pass of a torch network."""
    import torch

    total = []

    def count(layer, _inputs, output):
        total.append(output.numel() * int(np.prod(layer.weight.shape[1:])))

    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    handles = [layer.register_forward_hook(count) for layer in net.modules() if isinstance(layer, kinds)]
    with torch.no_grad():
        net(example)
    for handle in handles:
        handle.remove()
    return sum(total)


SIDES = {"ours": run_ours, "paddleslim": run_paddleslim, "torch-pruning": run_torch_pruning}


def collect(sides: dict[str, list[str]], repeats: int, threads: int | None) -> dict[str, list[dict[str, float]]]:
    """Run every command `repeats` times, taking turns.

    Raises:
        SystemExit: one failed; the message says which and why.
    """
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    env = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")} if threads else {}
    for turn in range(repeats):
        for side, command in sides.items():
            found, reason = run_child(command, timeout=TIME_LIMIT, env=env)
            if found is None:
                raise SystemExit(f"{side}: {reason}")
            runs[side].append(found)
            sys.stderr.write(f"turn {turn + 1}/{repeats} {side}: {found['total']:.2f} s\n")
    return runs


def command_of(python: str, side: str, network: str, *options: str) -> list[str]:
    """What measures one side on one network in a process of its own."""
    return [python, "-W", "ignore", str(Path(__file__).resolve()), "--side", side, "--network", network, *options]


def summarise(runs: dict[str, list[dict[str, float]]]) -> list[str]:
    """One line per side, then the ratios of ours to the others."""
    median = {
        side: {key: statistics.median(run[key] for run in found) for key in found[0]} for side, found in runs.items()
    }
    columns = {"build": "build s", "prune": "prune s", "total": "total s", "cpu": "CPU s"}
    columns |= {"macs_left": "MACs left", "memory": "memory/weights"}
    lines = [f"{'side':14s}" + "".join(f"{title:>16s}" for title in columns.values())]
    lines += [f"{side:14s}" + "".join(f"{values[key]:16.3f}" for key in columns) for side, values in median.items()]
    for side in median:
        if side != "ours":
            wall, cpu = (median[side][key] / median["ours"][key] for key in ("total", "cpu"))
            lines.append(f"ours is {wall:.1f}x as fast as {side} ({cpu:.1f}x in CPU time)")
    return lines


def summarise_growth(runs: dict[str, list[dict[str, object]]]) -> list[str]:
    """One line per network, in the best of its turns, then what the one with most operators takes per operator."""
    best = {network: {key: min(run[key] for run in found) for key in found[0]} for network, found in runs.items()}
    per_operator = {network: 1e3 * found["cpu_build"] / found["operators"] for network, found in best.items()}
    measure_of = per_operator.get(MEASURE_OF_GROWTH)
    columns = {"build": "build s", "prune": "prune s", "total": "total s", "cpu_build": "build CPU s", "cpu": "CPU s"}
    titles = ["operators", *columns.values(), "ms/operator", f"x {MEASURE_OF_GROWTH}", "masks"]
    lines = [f"{'network':16s}" + "".join(f"{title:>14s}" for title in titles)]
    for network, found in best.items():
        if len({run["masks"] for run in runs[network]}) > 1:
            raise SystemExit(f"{network}: the same request gave different masks")
        ratio = f"{per_operator[network] / measure_of:14.2f}" if measure_of else f"{'':14s}"
        numbers = "".join(f"{found[key]:14.3f}" for key in columns) + f"{per_operator[network]:14.3f}{ratio}"
        lines.append(f"{network:16s}{found['operators']:14d}{numbers}{found['masks']:>14s}")
    largest = max(best, key=lambda network: best[network]["operators"])
    if measure_of:
        ratio = per_operator[largest] / measure_of
        lines.append(f"{largest} takes {ratio:.2f} times as long to build per operator as {MEASURE_OF_GROWTH}")
    return lines


def main() -> int:
    """Measure one side (in a child) or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paddleslim", metavar="PYTHON", help="interpreter of PaddleSlim's environment")
    parser.add_argument("--torch-pruning", metavar="PYTHON", help="interpreter of Torch-Pruning's environment")
    parser.add_argument("--network", nargs="+", default=["resnet50"])
    parser.add_argument("--growth", action="store_true", help=f"ours on {', '.join(GROWTH)}, per operator")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--threads", type=int, help="threads per process, for a machine that others use at the same time"
    )
    parser.add_argument("--out", type=Path, help="write every run to this JSON file")
    parser.add_argument("--side", choices=sorted(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--warm", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        options = {"warm": True} if arguments.warm else {}
        emit(SIDES[arguments.side](arguments.network[0], **options))
        return 0
    networks = list(GROWTH) if arguments.growth else arguments.network
    peers = {"paddleslim": arguments.paddleslim, "torch-pruning": arguments.torch_pruning}
    growing = arguments.growth or len(networks) > 1
    if growing and any(peers.values()):
        parser.error("the peers take part on one network only")
    if growing:
        sides = {network: command_of(sys.executable, "ours", network, "--warm") for network in networks}
    else:
        pythons = {"ours": sys.executable} | {side: python for side, python in peers.items() if python}
        sides = {side: command_of(python, side, networks[0]) for side, python in pythons.items()}
    runs = collect(sides, arguments.repeats, arguments.threads)
    threads = f"{arguments.threads} threads" if arguments.threads else "all cores"
    of = "best" if growing else "median"
    title = f"FPGM, {', '.join(networks)}, ratio {RATIO}, {threads}, {of} of {arguments.repeats}"
    lines = [machine(), title, *(summarise_growth(runs) if growing else summarise(runs))]
    sys.stdout.write("\n".join(lines) + "\n")
    if arguments.out:
        text = json.dumps({"machine": machine(), "title": title, "runs": runs}, indent=1)
        arguments.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

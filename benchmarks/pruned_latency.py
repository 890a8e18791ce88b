"""How much of the multiply-adds that pruning removes comes off the latency, in OpenVINO.

    python benchmarks/pruned_latency.py [--network ResNet50_vd] [--keep 0.7 0.5] [--align 8 16] [--batches 1 8]

The network has drawn weights, batch norms measured on random images (speed depends on neither), and is pruned by FPGM
to a share of its multiply-adds, kept channels in multiples of each `--align`. Dense and pruned networks are timed in
one run, in float32 and quantized: each in a process of its own on the same cores, in turns. `of the fall` is the share
of the latency that is gone over the share of the multiply-adds that is gone. About 3 minutes on two quiet cores, and 2
more for each further `--align`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from common import emit, machine, run_child
from exported import compress, network, write

TIME_LIMIT = 1800.0
FORMAT = "onnx-openvino"
DENSE = "all"


def write_network(name: str, keep: float, align: int, folder: Path, size: int) -> dict[str, int]:
    """Write `folder`/float and `folder`/int8, pruned unless `keep` is 1; the multiply-adds for one image."""
    from ppcls_compress.slim import cost
    from ppcls_compress.slim.options import PruneOptions, QuantOptions

    net, record = network(name, size), None
    if keep < 1:
        net, record = compress(net, size, prune=PruneOptions(target_flops=keep, align=align))
    flops = cost.count(net, [[1, 3, size, size]]).flops
    write(net, folder / "float", size, [FORMAT], record)
    quantized, step = compress(net, size, quant=QuantOptions(name="pact"))
    write(quantized, folder / "int8", size, [FORMAT], step)
    return {"flops": int(flops)}


def show(flops: dict[str, int], times: dict[str, float], batch: int) -> None:
    """Print the table of one batch size."""
    print(f"{'batch':>5} {'kept':>12} form   {'multiply-adds':>14} {'ms':>9} {'fewer':>8} {'faster':>8}  of the fall")
    for form in ("float", "int8"):
        for name, count in flops.items():
            left = count / flops[DENSE]
            taken, dense = times[f"{name} {form}"], times[f"{DENSE} {form}"]
            share = "" if left == 1 else f"{(1 - taken / dense) / (1 - left):12.2f}"
            numbers = f"{count:>14,} {taken:9.2f} {1 - left:8.1%} {1 - taken / dense:8.1%} {share}"
            print(f"{batch:>5} {name:>12} {form:6} {numbers}", flush=True)


def main() -> None:
    """Measure and print; or, in a child process, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="ResNet50_vd")
    parser.add_argument("--keep", nargs="+", type=float, default=[0.7, 0.5])
    parser.add_argument("--align", nargs="+", type=int, default=[8])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--out", type=Path, help="write all numbers here as JSON")
    parser.add_argument("--write", nargs=3, metavar=("KEEP", "ALIGN", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        keep, align, folder = options.write
        emit(write_network(options.network, float(keep), int(align), Path(folder), options.size))
        return
    from ppcls_compress.deploy.measure import latency

    wanted = {DENSE: (1.0, 1)} | {
        f"{keep} / {align}": (keep, align) for align in options.align for keep in options.keep
    }
    flops, results, candidates = {}, {}, {}
    print(f"{machine()}, {options.threads} threads, {options.network}")
    with tempfile.TemporaryDirectory() as place:
        for name, (keep, align) in wanted.items():
            folder = Path(place, name.replace(" / ", "-"))
            command = [sys.executable, __file__, "--network", options.network, "--size", str(options.size)]
            written, why = run_child([*command, "--write", str(keep), str(align), str(folder)], timeout=TIME_LIMIT)
            if written is None:
                raise SystemExit(f"{options.network} at {name}: {why}")
            flops[name] = written["flops"]
            candidates |= {f"{name} {form}": str(folder / form / FORMAT) for form in ("float", "int8")}
        for batch in options.batches:
            shape = [batch, 3, options.size, options.size]
            found = latency.measure(candidates, shape, threads=options.threads, rounds=options.rounds)
            results[str(batch)] = {name: timed.median_ms for name, timed in found.items()}
            show(flops, results[str(batch)], batch)
    if options.out:
        options.out.write_text(json.dumps({"machine": machine(), "flops": flops, "ms": results}, indent=1))


if __name__ == "__main__":
    main()

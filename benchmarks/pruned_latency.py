"""How much of the multiply-adds that pruning removes comes off the latency, in OpenVINO.

    python benchmarks/pruned_latency.py [--network ResNet50_vd] [--keep 0.7 0.5] [--batches 1 8] [--threads 2]

The network has drawn weights, batch norms measured on random images (speed depends on neither), and is pruned by FPGM
to a share of its multiply-adds, kept channels in multiples of 8. Dense and pruned networks are timed in one run, in
float32 and quantized: each in a process of its own on the same cores, in turns. `of the fall` is the share of the
latency that is gone over the share of the multiply-adds that is gone. About 5 minutes on two quiet cores.
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


def write_network(name: str, keep: float, folder: Path, size: int) -> dict[str, int]:
    """Write `folder`/float and `folder`/int8, pruned unless `keep` is 1; the multiply-adds for one image."""
    from ppcls_compress.slim import cost
    from ppcls_compress.slim.options import PruneOptions, QuantOptions

    net, record = network(name, size), None
    if keep < 1:
        net, record = compress(net, size, prune=PruneOptions(target_flops=keep, align=8))
    flops = cost.count(net, [[1, 3, size, size]]).flops
    write(net, folder / "float", size, [FORMAT], record)
    quantized, step = compress(net, size, quant=QuantOptions(name="pact"))
    write(quantized, folder / "int8", size, [FORMAT], step)
    return {"flops": int(flops)}


def show(flops: dict[str, int], times: dict[str, float], keeps: list[float], batch: int) -> None:
    """Print the table of one batch size."""
    print(f"{'batch':>5} {'kept':>6} form   {'multiply-adds':>14} {'ms':>9} {'fewer':>8} {'faster':>8}  of the fall")
    for form in ("float", "int8"):
        for keep in keeps:
            left = flops[str(keep)] / flops["1.0"]
            taken, dense = times[f"{keep} {form}"], times[f"1.0 {form}"]
            share = "" if keep == 1 else f"{(1 - taken / dense) / (1 - left):12.2f}"
            numbers = f"{flops[str(keep)]:>14,} {taken:9.2f} {1 - left:8.1%} {1 - taken / dense:8.1%} {share}"
            print(f"{batch:>5} {keep:>6} {form:6} {numbers}", flush=True)


def main() -> None:
    """Measure and print; or, in a child process, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="ResNet50_vd")
    parser.add_argument("--keep", nargs="+", type=float, default=[0.7, 0.5])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--out", type=Path, help="write all numbers here as JSON")
    parser.add_argument("--write", nargs=2, metavar=("KEEP", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        keep, folder = options.write
        emit(write_network(options.network, float(keep), Path(folder), options.size))
        return
    from ppcls_compress.deploy import latency

    keeps, flops, results = [1.0, *options.keep], {}, {}
    print(f"{machine()}, {options.threads} threads, {options.network}")
    with tempfile.TemporaryDirectory() as place:
        for keep in keeps:
            command = [sys.executable, __file__, "--network", options.network, "--size", str(options.size)]
            written, why = run_child([*command, "--write", str(keep), f"{place}/{keep}"], timeout=TIME_LIMIT)
            if written is None:
                raise SystemExit(f"{options.network} at {keep}: {why}")
            flops[str(keep)] = written["flops"]
        candidates = {
            f"{keep} {form}": f"{place}/{keep}/{form}/{FORMAT}" for keep in keeps for form in ("float", "int8")
        }
        for batch in options.batches:
            shape = [batch, 3, options.size, options.size]
            found = latency.measure(candidates, shape, threads=options.threads, rounds=options.rounds)
            results[str(batch)] = {name: timed.median_ms for name, timed in found.items()}
            show(flops, results[str(batch)], keeps, batch)
    if options.out:
        options.out.write_text(json.dumps({"machine": machine(), "flops": flops, "ms": results}, indent=1))


if __name__ == "__main__":
    main()

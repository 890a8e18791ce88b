"""A published network quantized as an exported file, without its source, beside our calibration with its source.

    python benchmarks/source_free.py --weights FILE.pdparams --pages PAGES --work DIR

The network, the pages and the images to calibrate on are those of `published_model.py`, whose prepared pages and cells
this takes from DIR. The float ONNX file that it exports is read like any other tool's. Finished cells are kept in
DIR/cells.jsonl and not run again.
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

import published_model as published
from common import append, machine, read_results

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    """Run what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="PPLCNet_x1_0 of 4 classes, .pdparams")
    parser.add_argument("--pages", type=Path, required=True, help="folder of make_pages.py")
    parser.add_argument("--work", type=Path, required=True, help="prepared pages, files and finished cells go there")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    published.prepare_pages(args.pages, args.work)
    cells = args.work / "cells.jsonl"
    runs = {"float": lambda: published.ours(args, None, "openvino")}
    for layout in published.RUNTIMES:
        runs[f"with source, {layout}"] = lambda layout=layout: published.ours(args, published.PTQ, layout)
    for layout in published.RUNTIMES:
        runs[f"without source, {layout}"] = lambda layout=layout: without_source(args.work, layout)
    for name, run in runs.items():
        if name not in read_results(cells):
            sys.stderr.write(f"{name}\n")
            append(cells, {"cell": name, "machine": machine(), "date": str(date.today()), **run()})
    found = read_results(cells)
    sys.stdout.write(published.table(args.work, {name: found[name] for name in runs}))


def without_source(work: Path, layout: str) -> dict:
    """Read the float file, calibrate, write, and run what was written."""
    import numpy as np

    from ppcls_compress.deploy.imported import network, source
    from ppcls_compress.deploy.onnx import runtime
    from ppcls_compress.deploy.onnx.calibrated import calibrate
    from ppcls_compress.slim.options import QuantOptions

    images = [np.ascontiguousarray(batch) for batch in published.batches_of(published.pages(work, "calibration")[0])]
    read = network.open_network(source.find(work / "float"), images[0][:2])
    found = calibrate(read.graph, read.folded, QuantOptions(**published.PTQ), images)
    folder = work / f"without_{layout}"
    folder.mkdir(exist_ok=True)
    found.write(folder, layout=layout, output="logits", images=images[:8])
    session = runtime.load(folder / "model.onnx", published.RUNTIMES[layout], threads=1)
    size = (folder / "model.onnx").stat().st_size
    return published.judged(work, session.run) | {"runtime": published.RUNTIMES[layout], "bytes": size}


if __name__ == "__main__":
    main()

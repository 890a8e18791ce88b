"""A published network quantized as an exported file, without its source, beside our calibration with its source.

    python benchmarks/source_free.py --weights FILE.pdparams --pages PAGES --work DIR

The network, the pages and the images to calibrate on are those of `published_model.py`, whose prepared pages and cells
this takes from DIR. The float ONNX file that it exports is read like any other tool's. Finished cells are kept in
DIR/cells.jsonl and not run again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pages
from calibrations import (
    FLOAT,
    PTQ,
    RUNTIMES,
    Job,
    Subject,
    calibrated,
    files,
    float_file,
    judged,
    run_jobs,
    table,
)
from common import read_results
from published_model import published


def main() -> None:
    """Run what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="PPLCNet_x1_0 of 4 classes, .pdparams")
    parser.add_argument("--pages", type=Path, required=True, help="folder of make_pages.py")
    parser.add_argument("--work", type=Path, required=True, help="prepared pages, files and finished cells go there")
    args = parser.parse_args()
    pages.prepare(args.pages, args.work)
    subject, cells = published(args.weights, args.work), args.work / "cells.jsonl"
    jobs = [
        Job((FLOAT,), lambda: float_file(subject)),
        Job(
            tuple(f"with source, {layout}" for layout in RUNTIMES),
            lambda: files(subject, calibrated(subject, PTQ), "with"),
        ),
        Job(
            tuple(f"without source, {layout}" for layout in RUNTIMES),
            lambda: [without_source(subject, layout) for layout in RUNTIMES],
        ),
    ]
    run_jobs(jobs, cells, [])
    found = read_results(cells)
    names = [name for job in jobs for name in job.cells]
    sys.stdout.write(table({name: found[name] for name in names}, pages.SPLITS))


def without_source(subject: Subject, layout: str) -> dict:
    """Read the float file, calibrate, write, and run what was written."""
    from ppcls_compress.deploy.imported import network, source
    from ppcls_compress.deploy.onnx import runtime
    from ppcls_compress.deploy.onnx.calibrated import calibrate
    from ppcls_compress.slim.options import QuantOptions

    images = subject.calibration()
    read = network.open_network(source.find(subject.work / FLOAT), images[0][:2])
    found = calibrate(read.graph, read.folded, QuantOptions(**PTQ), images)
    folder = subject.work / f"without_{layout}"
    folder.mkdir(exist_ok=True)
    found.write(folder, layout=layout, output="logits", images=images[:8])
    session = runtime.load(folder / "model.onnx", RUNTIMES[layout], threads=1)
    size = (folder / "model.onnx").stat().st_size
    return judged(subject.work, subject.splits, session.run) | {"runtime": RUNTIMES[layout], "bytes": size}


if __name__ == "__main__":
    main()

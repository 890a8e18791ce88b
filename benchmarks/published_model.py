"""A published network after quantization without training, in training and after pruning, beside its peers.

    apt-get install fonts-dejavu-core fonts-liberation fonts-freefont-ttf
    python make_pages.py PAGES                      # rendered pages with known answers, plain and hard ones
    python benchmarks/published_model.py --weights FILE.pdparams --pages PAGES --work DIR [--peers VENV/bin/python]
        [--only "ours, 4-bit*"] [--latency]

The network is PaddleClas' PPLCNet_x1_0 for page orientation; every row is what the exported file answers in its own
runtime. All methods calibrate on the same 512 plain training pages, learned rounding on the first 128 of them; judged
are the validation pages, plain and hard apart. `--peers` is a Python that imports nncf, openvino and onnxruntime: ONNX
Runtime's `quantize_static` and NNCF then quantize the float file of this package. Training sees all training pages:
"PACT" and "LSQ" go on from the published weights for an epoch, "pruned to N%" of the multiply-adds for three, and so
does "trained", which is what they are compared with. Finished cells are kept in DIR/cells.jsonl and not run again, a
training that was stopped goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pages
from calibrations import (
    FLOAT,
    PEERS,
    PTQ,
    RUNTIMES,
    Job,
    Subject,
    calibrated,
    files,
    float_file,
    peer,
    run_jobs,
    table,
    written,
)
from common import read_results, trained

ARCH = "PPLCNet_x1_0"
LEARNED_ON = 128
"""Images that learned rounding sees; it looks at each of them once for every layer."""
RENEWED_ON = 8
"""Batches of 32 training pages that batch norms are taken anew from."""
OURS = {
    "as it was": {"activation_quantizer": "KLQuantizer", "asymmetric": False, "depthwise_ranges": "tensor"},
    "asymmetric": {"depthwise_ranges": "tensor"},
    "channel": {"asymmetric": False},
    "default": {},
    "min-max": {"activation_quantizer": "AbsmaxQuantizer"},
    "KL": {"activation_quantizer": "KLQuantizer"},
    "MSE": {"activation_quantizer": "MSEQuantizer"},
    "percentile": {"activation_quantizer": "PercentileQuantizer"},
    "no bias correction": {"bias_correction": False},
    "rounding learned": {"reconstruction": {}},
    "4-bit weights": {"weight_bits": 4},
    "4-bit weights, rounding learned": {"weight_bits": 4, "reconstruction": {}},
    "3-bit weights": {"weight_bits": 3},
    "3-bit weights, rounding learned": {"weight_bits": 3, "reconstruction": {}},
}
SLOW_PEERS = ("nncf performance slow", "nncf mixed slow")


@dataclass(frozen=True)
class Training:
    """Training that starts from the published weights.

    Attributes:
        epochs: over all training pages.
        slim: the `Slim` section in YAML, or None.
        quantizes: whether what comes out is quantized; otherwise it is written in float, and calibrated.
        rate: learning rate at the start.
    """

    epochs: int
    slim: str | None = None
    quantizes: bool = False
    rate: float = 0.01


SYMMETRIC = "asymmetric: false, depthwise_ranges: tensor"
"""One symmetric range for each tensor, the default of training until it took the grids of calibration."""
MOVING = "freeze_bn_epoch: never"
"""Batch norms do not keep the statistics that were published, which so short a training does by default."""
TRAININGS = {
    "trained": Training(3),
    **{
        f"pruned to {kept}%": Training(3, f"{{prune: {{name: fpgm, target_flops: 0.{kept}}}}}") for kept in (50, 70, 30)
    },
    "PACT": Training(1, "{quant: {name: pact}}", quantizes=True, rate=0.001),
    "LSQ": Training(1, "{quant: {name: lsq}}", quantizes=True, rate=0.001),
    "PACT with moving batch norms": Training(1, f"{{quant: {{name: pact, {MOVING}}}}}", quantizes=True, rate=0.001),
    "PACT on symmetric grids": Training(1, f"{{quant: {{name: pact, {SYMMETRIC}, {MOVING}}}}}", quantizes=True),
}


REFERENCES = {
    FLOAT: (FLOAT, "ours", *PEERS),
    "trained": ("trained", "pruned"),
    "ours, default, openvino": ("PACT", "LSQ"),
}
"""What rows are compared with: how their names begin."""


def main() -> None:
    """Run what is not done yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="PPLCNet_x1_0 of 4 classes, .pdparams")
    parser.add_argument("--pages", type=Path, required=True, help="folder of make_pages.py")
    parser.add_argument("--work", type=Path, required=True, help="prepared pages, files and finished cells go there")
    parser.add_argument("--peers", type=Path, help="Python with nncf, openvino and onnxruntime; left out, no peers")
    parser.add_argument("--latency", action="store_true", help="time files of three grids side by side at the end")
    parser.add_argument("--only", nargs="*", default=[], help="globs over cells to run; all if left out")
    args = parser.parse_args()
    pages.check(args.pages)
    args.work = args.work.resolve()
    pages.prepare(args.pages, args.work)
    cells, subject = args.work / "cells.jsonl", published(args.weights, args.work)
    run_jobs(plan(args, subject), cells, args.only)
    found = read_results(cells)
    known = {name: found[name] for job in plan(args, subject) for name in job.cells if name in found}
    for reference, rows in REFERENCES.items():
        if reference in known:
            chosen = {name: cell for name, cell in known.items() if name == reference or name.startswith(rows)}
            sys.stdout.write("\n" + table(chosen, pages.SPLITS, reference))
    if args.latency:
        sys.stdout.write(latency(subject))


def published(weights: Path, work: Path) -> Subject:
    """The network as it was published."""
    return Subject(ARCH, pages.CLASSES, weights.resolve().with_suffix(""), work, pages.SPLITS)


def plan(args: argparse.Namespace, subject: Subject) -> list[Job]:
    """What to run."""
    found = [
        Job((FLOAT,), lambda: float_file(subject)),
        Job((f"{FLOAT}, batch norms anew",), lambda: renewed(args, subject)),
    ]
    for name, options in OURS.items():
        count = LEARNED_ON if "reconstruction" in options else None
        found.append(
            Job(
                layouts(f"ours, {name}"),
                lambda options=options, count=count: files(subject, calibrated(subject, PTQ | options, count), "ours"),
            )
        )
    for name in (*PEERS, *SLOW_PEERS) if args.peers else ():
        found.append(Job((name,), lambda name=name: peer(args.peers, subject, name)))
    for name, training in TRAININGS.items():
        found += training_jobs(args, subject, name, training)
    return found


def renewed(args: argparse.Namespace, subject: Subject) -> list[dict]:
    """The float network with the batch-norm statistics of training pages."""
    from ppcls_compress.config.load import load_config
    from ppcls_compress.engine.train import training_loader
    from ppcls_compress.slim.prune.cut.recalibration import recalibrate

    model, loader = subject.network(), training_loader(load_config(pages.config(args.pages, subject.work), []))
    recalibrate(model, (batch for batch, _ in itertools.islice(loader, RENEWED_ON)))
    model.eval()
    return [written(subject, model, "openvino", "renewed")]


def layouts(name: str) -> tuple[str, ...]:
    """A cell's name for each file."""
    return tuple(f"{name}, {layout}" for layout in RUNTIMES)


def training_jobs(args: argparse.Namespace, subject: Subject, name: str, training: Training) -> list[Job]:
    """The cells of a training."""

    def after() -> Subject:
        settings = {
            "Global.epochs": training.epochs,
            "Global.pretrained_model": subject.weights,
            "Optimizer.lr.learning_rate": training.rate,
            **({"Slim": training.slim} if training.slim else {}),
        }
        folder = subject.work / name.replace(" ", "_").replace("%", "")
        return replace(subject, weights=trained(pages.config(args.pages, subject.work), folder, subject.arch, settings))

    if training.quantizes:
        return [Job(layouts(name), lambda: files(subject, after().network(), "after"))]
    return [
        Job((name,), lambda: float_file(after(), "after")),
        Job(layouts(f"{name}, int8"), lambda: files(subject, calibrated(after(), PTQ), "after")),
    ]


GRIDS = {
    "symmetric": {"asymmetric": False, "depthwise_ranges": "tensor"},
    "asymmetric": {"depthwise_ranges": "tensor"},
    "and a range per channel": {},
}
"""What the latency is compared of; the first is what the others are divided by."""


def latency(subject: Subject) -> str:
    """Ratios of the shortest processor times for one image and for eight, in turns, one thread."""
    from ppcls_compress.deploy.onnx import runtime

    few = subject.calibration(16)[0]
    lines = [f"| runtime | batch | {' | '.join(GRIDS)} |", "|---|---|" + "---|" * len(GRIDS)]
    for layout, engine in RUNTIMES.items():
        sessions = {name: runtime.load(timed(subject, name, layout), engine, threads=1) for name in GRIDS}
        for batch, rounds in ((1, 300), (8, 60)):
            times = {name: [] for name in sessions}
            for turn in range(rounds):
                for name in list(sessions)[:: 1 if turn % 2 else -1]:
                    start = time.process_time()
                    sessions[name].run(few[:batch])
                    times[name].append(time.process_time() - start)
            # A tenth of the rounds is disturbed least by what else the machine does, and is no single one.
            shortest = {name: float(np.percentile(values, 10)) for name, values in times.items()}
            first = shortest[next(iter(GRIDS))]
            lines.append(
                f"| {engine} | {batch} | {' | '.join(f'{value / first:.3f}' for value in shortest.values())} |"
            )
    return "\n" + "\n".join(lines) + "\n"


def timed(subject: Subject, grid: str, layout: str) -> Path:
    """A file of the network, calibrated on a few images; one that is there is taken."""
    number = list(GRIDS).index(grid)
    if not (subject.work / f"timed_{layout}_{number}" / "model.onnx").exists():
        from ppcls_compress.deploy.onnx.export import export

        few, model = subject.calibration(16), calibrated(subject, PTQ | GRIDS[grid], 16)
        for each in RUNTIMES:
            folder, shape = subject.work / f"timed_{each}_{number}", few[0].shape[1:]
            export(model, folder, image_shape=shape, layout=each, output="logits", calibration=few)
    return subject.work / f"timed_{layout}_{number}" / "model.onnx"


if __name__ == "__main__":
    main()

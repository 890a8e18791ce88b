"""A published network after quantization without training, in the exported files' own runtimes, beside its peers.

    apt-get install fonts-dejavu-core fonts-liberation fonts-freefont-ttf
    python make_pages.py PAGES                      # rendered pages with known answers, plain and hard ones
    python benchmarks/published_model.py --weights FILE.pdparams --pages PAGES --work DIR [--peers VENV/bin/python]
        [--latency]

The network is PaddleClas' PPLCNet_x1_0 for page orientation. All methods calibrate on the same 512 plain training
pages; judged are the validation pages, plain and hard apart. `--peers` is a Python that imports nncf, openvino and
onnxruntime: ONNX Runtime's `quantize_static` and NNCF then quantize the float file of this package. Finished cells
are kept in DIR/cells.jsonl and not run again.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
from common import append, machine, read_results, run_child

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SHAPE, CALIBRATION, BATCH = (3, 224, 224), 512, 32
SPLITS = ("plain", "hard")
TRANSFORMS = [
    {"DecodeImage": {"to_rgb": True, "channel_first": False}},
    {"ResizeImage": {"resize_short": 256}},
    {"CropImage": {"size": 224}},
    {
        "NormalizeImage": {
            "scale": "1.0/255.0",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "order": "",
        }
    },
    {"ToCHWImage": {}},
]
RUNTIMES = {"openvino": "openvino", "ort": "onnxruntime"}
PTQ = {"name": "ptq"}
OURS = {
    "as it was": {**PTQ, "activation_quantizer": "KLQuantizer", "asymmetric": False, "depthwise_ranges": "tensor"},
    "asymmetric": {**PTQ, "depthwise_ranges": "tensor"},
    "channel": {**PTQ, "asymmetric": False},
    "default": PTQ,
    "min-max": {**PTQ, "activation_quantizer": "AbsmaxQuantizer"},
    "KL": {**PTQ, "activation_quantizer": "KLQuantizer"},
    "MSE": {**PTQ, "activation_quantizer": "MSEQuantizer"},
    "percentile": {**PTQ, "activation_quantizer": "PercentileQuantizer"},
    "no bias correction": {**PTQ, "bias_correction": False},
    "rounding learned": {**PTQ, "reconstruction": {}},
    "4-bit weights": {**PTQ, "weight_bits": 4},
    "4-bit weights, rounding learned": {**PTQ, "weight_bits": 4, "reconstruction": {}},
    "3-bit weights": {**PTQ, "weight_bits": 3},
    "3-bit weights, rounding learned": {**PTQ, "weight_bits": 3, "reconstruction": {}},
}
PEERS = ("quantize_static", "nncf performance", "nncf mixed", "nncf performance slow", "nncf mixed slow")


def main() -> None:
    """Run what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="PPLCNet_x1_0 of 4 classes, .pdparams")
    parser.add_argument("--pages", type=Path, required=True, help="folder of make_pages.py")
    parser.add_argument("--work", type=Path, required=True, help="prepared pages, files and finished cells go there")
    parser.add_argument("--peers", type=Path, help="Python with nncf, openvino and onnxruntime; left out, no peers")
    parser.add_argument("--latency", action="store_true", help="time files of three grids side by side at the end")
    parser.add_argument("--only", nargs="*", default=[], help="cells to run; all if left out")
    args = parser.parse_args()
    for name in ("train_list.txt", "val_list.txt"):
        if not (args.pages / name).is_file():
            parser.error(f"--pages: {args.pages / name} is not there; make_pages.py writes it")
    args.work.mkdir(parents=True, exist_ok=True)
    prepare_pages(args.pages, args.work)
    cells = args.work / "cells.jsonl"
    for name, run in plan(args).items():
        if name not in read_results(cells) and (not args.only or name in args.only):
            sys.stderr.write(f"{name}\n")
            append(cells, {"cell": name, "machine": machine(), "date": str(date.today()), **run()})
    sys.stdout.write(table(args.work, read_results(cells)))
    if args.latency:
        sys.stdout.write(latency(args))


def plan(args: argparse.Namespace) -> dict:
    """What to run, by cell."""
    found = {"float": lambda: ours(args, None, "openvino")}
    for name, options in OURS.items():
        for layout in RUNTIMES:
            found[f"ours, {name}, {layout}"] = lambda options=options, layout=layout: ours(args, options, layout)
    for name in PEERS if args.peers else ():
        found[name] = lambda name=name: peer(args, name)
    return found


def prepare_pages(folder: Path, work: Path) -> None:
    """Prepare the pages once: `<name>.npy`, float32 [N, 3, 224, 224], and `<name>_labels.npy`."""
    wanted = {"calibration": ("train", "plain", CALIBRATION), **{kind: ("val", kind, None) for kind in SPLITS}}
    for name, (split, kind, count) in wanted.items():
        if (work / f"{name}_labels.npy").exists():
            continue
        from ppcls_compress.data.transforms import parse_transforms
        from ppcls_compress.data.transforms.pipeline import Pipeline

        pipeline = Pipeline(parse_transforms(TRANSFORMS))
        rows = [line.split() for line in (folder / f"{split}_list.txt").read_text().splitlines()]
        rows = [(path, int(label)) for path, label in rows if kind in path][:count]
        np.save(work / f"{name}.npy", np.stack([pipeline((folder / path).read_bytes()) for path, _ in rows]))
        np.save(work / f"{name}_labels.npy", np.array([label for _, label in rows]))


def pages(work: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images as the network reads them, float32 [N, 3, 224, 224], and labels."""
    return np.load(work / f"{name}.npy", mmap_mode="r"), np.load(work / f"{name}_labels.npy")


def batches_of(images: np.ndarray) -> list[np.ndarray]:
    """Batches of some images, [32, 3, 224, 224]; the last one may be smaller."""
    return np.split(images, range(BATCH, len(images), BATCH))


def network(weights: Path):
    """The float network with its weights."""
    import paddle

    from ppcls_compress import models
    from ppcls_compress.models.weights import load_into

    net = models.build("PPLCNet_x1_0", class_num=4)
    load_into(net, paddle.load(str(weights), return_numpy=True), source=str(weights))
    net.eval()
    return net


def ours(args: argparse.Namespace, options: dict | None, layout: str) -> dict:
    """Calibrate, export, and run the file; float without options."""
    import paddle

    from ppcls_compress.deploy.onnx import runtime
    from ppcls_compress.deploy.onnx.export import export
    from ppcls_compress.slim import quant
    from ppcls_compress.slim.options import QuantOptions

    net, calibration = network(args.weights), None
    folder = args.work / ("float" if options is None else f"ours_{layout}")
    if options is not None:
        calibration = batches_of(pages(args.work, "calibration")[0])
        options = QuantOptions(**options)
        net, _ = quant.prepare(net, options, inputs=[[1, *SHAPE]])
        quant.calibrate(net, map(paddle.to_tensor, calibration), reconstruction=options.reconstruction)
    path = export(
        net, folder, image_shape=SHAPE, layout=layout, output="logits", calibration=calibration and calibration[:8]
    ).path
    session = runtime.load(path, RUNTIMES[layout], threads=1)
    return judged(args.work, session.run) | {"runtime": RUNTIMES[layout], "bytes": path.stat().st_size}


def judged(work: Path, run) -> dict:
    """Which pages are answered rightly, as a text of 0 and 1 for each split."""
    found = {}
    for split in SPLITS:
        images, labels = pages(work, split)
        logits = np.concatenate([run(np.ascontiguousarray(batch)) for batch in batches_of(images)])
        found[split] = "".join("01"[right] for right in (logits.argmax(1) == labels).astype(int))
    return found


def peer(args: argparse.Namespace, name: str) -> dict:
    """As `ours`, by another package in its own environment, from this package's float file."""
    if not (args.work / "float" / "model.onnx").exists():
        ours(args, None, "openvino")
    script = Path(__file__).with_name("published_model_peers.py")
    result, why = run_child([str(args.peers), str(script), str(args.work), name], timeout=3600)
    if result is None:
        raise SystemExit(f"{name}: {why}")
    return result


def table(work: Path, cells: dict) -> str:
    """Top-1 of each cell and its paired difference from float, with 95% intervals."""
    lines = ["| method | runtime | plain % | hard % | hard, against float |", "|---|---|---|---|---|"]
    for name, cell in cells.items():
        right = {split: rights(cell[split]) for split in SPLITS}
        told = ""
        if "float" in cells:
            difference = right["hard"] - rights(cells["float"]["hard"])
            half = 1.96 * difference.std(ddof=1) / np.sqrt(difference.size)
            told = f"{100 * difference.mean():+.1f} ± {100 * half:.1f}"
        plain, hard = (100 * right[split].mean() for split in SPLITS)
        lines.append(f"| {name} | {cell['runtime']} | {plain:.1f} | {hard:.1f} | {told} |")
    return "\n".join(lines) + "\n"


GRIDS = {
    "symmetric": {"asymmetric": False, "depthwise_ranges": "tensor"},
    "asymmetric": {"depthwise_ranges": "tensor"},
    "and a range per channel": {},
}
"""What the latency is compared of; the first is what the others are divided by."""


def latency(args: argparse.Namespace) -> str:
    """Ratios of the shortest times for one image and for eight, in turns, one thread."""
    from ppcls_compress.deploy.onnx import runtime

    images = np.ascontiguousarray(pages(args.work, "calibration")[0][:16])
    lines = [f"| runtime | batch | {' | '.join(GRIDS)} |", "|---|---|" + "---|" * len(GRIDS)]
    for layout, engine in RUNTIMES.items():
        sessions = {}
        for name, options in GRIDS.items():
            path = written(args, {**PTQ, **options}, layout, args.work / f"timed_{layout}_{len(sessions)}", images)
            sessions[name] = runtime.load(path, engine, threads=1)
        for batch, rounds in ((1, 300), (8, 60)):
            times = {name: [] for name in sessions}
            for turn in range(rounds):
                for name in list(sessions)[:: 1 if turn % 2 else -1]:
                    start = time.perf_counter()
                    sessions[name].run(images[:batch])
                    times[name].append(time.perf_counter() - start)
            shortest = {name: min(values) for name, values in times.items()}  # the rest is what else the machine does
            first = shortest[next(iter(GRIDS))]
            lines.append(
                f"| {engine} | {batch} | {' | '.join(f'{value / first:.3f}' for value in shortest.values())} |"
            )
    return "\n" + "\n".join(lines) + "\n"


def written(args: argparse.Namespace, options: dict, layout: str, folder: Path, images: np.ndarray) -> Path:
    """A file of the network, calibrated on a few images; one that is there is taken."""
    if (folder / "model.onnx").exists():
        return folder / "model.onnx"
    import paddle

    from ppcls_compress.deploy.onnx.export import export
    from ppcls_compress.slim import quant
    from ppcls_compress.slim.options import QuantOptions

    net, _ = quant.prepare(network(args.weights), QuantOptions(**options), inputs=[[1, *SHAPE]])
    quant.calibrate(net, [paddle.to_tensor(images)])
    return export(net, folder, image_shape=SHAPE, layout=layout, output="logits", calibration=[images]).path


def rights(text: str) -> np.ndarray:
    """The 0 and 1 of a text as numbers."""
    return np.array([float(digit) for digit in text])


if __name__ == "__main__":
    main()

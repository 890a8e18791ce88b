"""Whether a tuned file is ever slower than float, or than integers throughout, which is what is written without --tune.

    python benchmarks/tune_speed.py [--networks PPLCNet_x1_0 ...] [--batches 1 8] [--only NETWORK:FORMAT:BATCH ...]

Each network has drawn weights and is calibrated on random images (speed depends on neither), for PACT as PaddleClas'
four files of compression have it. `export_model --tune BATCH` then chooses; its file, that of integers throughout and
that of float are written and timed anew, in turns, on one thread; one that is another byte for byte is timed once.
`over float` and `over integers` are their times over that of the tuned file: none is to be below 0.98. Finished cells
are kept in results/tune_speed.jsonl and not run again. On two quiet cores all 20 take about 25 minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from datetime import date
from pathlib import Path

from common import append, machine, read_results

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results" / "tune_speed.jsonl"
sys.path.insert(0, str(ROOT))

NETWORKS = {
    "ResNet50_vd": 224,
    "PPHGNet_small": 224,
    "MobileNetV3_large_x1_0": 224,
    "PPLCNet_x1_0": 224,
    "CIFARMobileNetV3": 32,
}
FORMATS = ("onnx-ort", "onnx-openvino")
NOISE = 0.98
_ROUNDS = 90


def main() -> None:
    """Run what is not done yet; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--only", nargs="+", default=[], metavar="CELL", help="such as PPLCNet_x1_0:onnx-ort:1")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    for name in args.networks:
        cells = [f"{name}:{kind}:{batch}" for kind in FORMATS for batch in args.batches]
        left = [cell for cell in cells if cell not in read_results(args.out) and (not args.only or cell in args.only)]
        if left:
            for found in _measured(name, left):
                append(args.out, {**found, "machine": machine(), "date": str(date.today())})
    show(read_results(args.out))


def _measured(name: str, cells: list[str]):
    """One dictionary for each cell of a network."""
    from ppcls_compress.config.load import validate
    from ppcls_compress.deploy import configured, formats
    from ppcls_compress.engine import assemble

    size = NETWORKS[name]
    data = {
        "Arch": {"name": name, "class_num": 1000 if size == 224 else 10},
        "Global": {"image_shape": [3, size, size], "device": "cpu", "export_check_images": 8},
        "Slim": {"quant": {"name": "pact"}},
    }
    config = validate(data, source=name)
    assemble.start(config)
    variant = configured.fresh_model(config)
    for cell in cells:
        _, kind, batch = cell.split(":")
        sys.stderr.write(f"{cell}\n")
        kind = formats.get(kind)
        plan = configured.plan(config, [kind], variant[1], speed_only=True)
        yield {"cell": cell, **_cell(config, variant, kind, plan, int(batch))}


def _cell(config, variant, kind, plan, batch: int) -> dict:
    from ppcls_compress import io
    from ppcls_compress.deploy import artifact, tuning
    from ppcls_compress.deploy.export import export
    from ppcls_compress.deploy.measure import latency

    tuned = tuning.tune(config, variant, kind, plan, None, batch=batch)
    variants = {"tuned": (tuned.model, tuned.record), "integers": variant, "float": tuning.in_float(variant)}
    shape = config.Global.image_shape
    with tempfile.TemporaryDirectory() as folder:
        for key, (model, record) in variants.items():
            about = artifact.Description(shape, format=kind.name)
            export(model, Path(folder) / key, description=about, record=record, calibration=plan.calibration.batches)
        digests = {key: io.sha256(Path(folder) / key / "model.onnx") for key in variants}
        # A tuned file that is one of the others, byte for byte, is as fast as that one.
        places = {key: Path(folder) / key for key in variants if key != "tuned"}
        if digests["tuned"] not in {digests[key] for key in places}:
            places["tuned"] = Path(folder) / "tuned"
        found = latency.measure(places, [batch, *shape], rounds=_ROUNDS)
        taken = {key: one.median_ms for key, one in found.items()}
        for key in ("float", "integers"):
            if digests[key] == digests["tuned"]:
                taken["tuned"] = taken[key]
    return {
        "ms": {key: round(value, 4) for key, value in taken.items()},
        "over float": round(taken["float"] / taken["tuned"], 3),
        "over integers": round(taken["integers"] / taken["tuned"], 3),
        "notes": list(tuned.notes),
    }


def show(results: dict[str, dict]) -> None:
    """A table, and how many files are slower than they may be."""
    heads = ("float ms", "integers ms", "tuned ms", "over float", "over integers")
    sys.stdout.write(f"{'cell':42} {' '.join(f'{head:>14}' for head in heads)}  chosen\n")
    for cell, found in results.items():
        times = [found["ms"][key] for key in ("float", "integers", "tuned")]
        numbers = [
            *(f"{value:14.3f}" for value in times),
            f"{found['over float']:13.2f}x",
            f"{found['over integers']:13.2f}x",
        ]
        chosen = found["notes"][0].partition(f"batch {cell.rpartition(':')[2]}: ")[2].partition(";")[0]
        sys.stdout.write(f"{cell:42} {' '.join(numbers)}  {chosen}\n")
    slower = [cell for cell, found in results.items() if min(found["over float"], found["over integers"]) < NOISE]
    sys.stdout.write(f"{len(slower)} of {len(results)} slower than they may be: {', '.join(slower) or 'none'}\n")


if __name__ == "__main__":
    main()

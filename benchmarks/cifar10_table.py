"""CIFAR-10, one float start per network: quantizers at 8, 4, 3 and 2 bits, pruning criteria, and both together.

    export CIFAR10_DIR=...    # made by python -m ppcls_compress.data.cifar10 --out ...
    python benchmarks/cifar10_table.py --work DIR [--only 'resnet8/*'] [--list]
    python benchmarks/cifar10_table.py --work DIR --table

A cell is one run of a command of this toolkit, from the float weights of its network, on 50,000 images; then its last
checkpoint, not its best, predicts the 5,000 validation images in a fresh process. Every cell of a network, the row
`float_on` included, is fine-tuned by the same schedule, so that a difference comes from compressing, not training.
`--table` compares each cell with `float_on` on the same images: the difference of the top-1 and the 95% interval of
paired proportions (Agresti 2013, section 11.1).

Finished cells stay in `DIR/<cell>`; a killed cell goes on from its last epoch. Two processes with one thread each and
different `--only` use two cores; the cells of a network need its float start first.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from cifar10_cells import ARCHS, CONFIG, PAPERS, ROOT, Cell, Runs, cells, command


def run(cell: Cell, runs: Runs) -> None:
    """Train or calibrate the cell, then predict in a fresh process; each of its files says that a step is done."""
    work = runs.work
    folder = work / cell.key
    folder.mkdir(parents=True, exist_ok=True)
    given = not cell.start and runs.float_weights(cell.network) == runs.start
    with (folder / "log.txt").open("a") as log:
        if not given and not (folder / "trained.json").exists():
            made = command(cell, runs)
            begun = time.perf_counter()
            subprocess.run(made, check=True, stdout=log, stderr=subprocess.STDOUT)
            described = [part.replace(str(work), "DIR").replace(f"{ROOT}/", "") for part in made[1:]]
            seconds = round(time.perf_counter() - begun, 1)
            write(folder / "trained.json", {**asdict(cell), "seconds": seconds, "command": ["python", *described]})
        name = "quantized" if cell.tool == "quantize" else "latest"
        prefix = runs.start if given else folder / ARCHS[cell.network] / name
        predict = [sys.executable, __file__, "--work", str(work), "--predict", cell.key, "--weights", str(prefix)]
        subprocess.run(predict, check=True, stdout=log, stderr=subprocess.STDOUT)


def write(path: Path, content: dict) -> None:
    """JSON that is there in whole or not at all."""
    path.with_suffix(".part").write_text(json.dumps(content, indent=2) + "\n")
    path.with_suffix(".part").replace(path)


def predict(cell: Cell, prefix: Path, work: Path) -> None:
    """Write whether each validation image is classified rightly, and what the network costs."""
    import paddle

    from ppcls_compress import data, io, models
    from ppcls_compress.config.load import load_config
    from ppcls_compress.engine import assemble, checkpoint
    from ppcls_compress.models import weights
    from ppcls_compress.slim import recipe

    config = load_config(CONFIG, [f"Arch.name={ARCHS[cell.network]}"])
    record = checkpoint.read_record(prefix)
    model = recipe.rebuild(models.build(config.Arch.name, class_num=10), record)
    weights.load_into(model, io.read_state(Path(f"{prefix}.pdparams")), source=str(prefix))
    model.eval()
    loader = data.build_loader(config.DataLoader.Eval, class_num=10, seed=0, training=False)
    with paddle.no_grad():
        right = [(model(images).argmax(-1) == labels).numpy() for images, labels in loader]
    np.save(work / cell.key / "right.npy", np.concatenate(right))
    found = assemble.cost_of(config, record)
    write(work / cell.key / "cost.json", {"params": found.params, "flops": found.flops})


def paired(right: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Difference of two top-1 on the same images and the half width of its 95% interval, both in points."""
    gained = float(np.mean(right & ~reference))
    lost = float(np.mean(~right & reference))
    deviation = math.sqrt(max(gained + lost - (gained - lost) ** 2, 0.0) / len(right))
    return 100 * (gained - lost), 100 * 1.96 * deviation


def table(work: Path) -> str:
    """All finished cells in Markdown."""
    lines = [
        "| network | cell | top-1 % | against `float_on` | paper % | multiply-adds | parameters | minutes |",
        "|---" * 8 + "|",
    ]
    for cell in cells():
        folder = work / cell.key
        if not (folder / "cost.json").exists():
            continue
        right = np.load(folder / "right.npy")
        base = work / cell.network / "float_on" / "right.npy"
        against = "{:+.2f} ± {:.2f}".format(*paired(right, np.load(base))) if base.exists() else ""
        trained = folder / "trained.json"
        spent = f"{json.loads(trained.read_text())['seconds'] / 60:.1f}" if trained.exists() else ""
        paper = PAPERS.get(cell.name, "") if cell.network == "resnet20" else ""
        size = json.loads((folder / "cost.json").read_text())
        lines.append(
            f"| {cell.network} | {cell.name} | {100 * right.mean():.2f} | {against} | {paper} "
            f"| {size['flops']:,} | {size['params']:,} | {spent} |"
        )
    return "\n".join(lines) + "\n"


def images_in(data: Path, work: Path) -> Path:
    """The folder of images and lists, written to `work` where `data` has the official archive."""
    if (data / "train_list.txt").is_file():
        return data
    from ppcls_compress.data.cifar10 import write_cifar10
    from ppcls_compress.errors import UserError

    try:
        write_cifar10(work / "images", [data])
    except UserError as error:
        raise SystemExit(f"--data: there is no train_list.txt in {data}; {error}") from error
    return work / "images"


def some_of(listed: Path, count: int, work: Path) -> Path:
    """A list of so many images, evenly taken from a list of all."""
    lines = listed.read_text().splitlines()
    chosen = [lines[index * len(lines) // count] for index in range(count)] if count < len(lines) else lines
    path = work / f"train_{count}.txt"
    path.write_text("\n".join(chosen) + "\n")
    return path


def main() -> None:
    """Run what is left to do, or print the table."""
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the images and their lists, or of the official archive")
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--start", type=Path, help="float weights of ResNet-20, .pdparams, in place of training them")
    parser.add_argument("--train-images", type=int, help="train the cells after the float start on so many; else all")
    parser.add_argument("--only", default="*", help="glob over <network>/<cell>")
    parser.add_argument("--list", action="store_true", help="print the cells that are still to do, and stop")
    parser.add_argument("--table", action="store_true", help="print the finished cells, and stop")
    parser.add_argument("--predict", help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    work = options.work.resolve()
    if options.table:
        sys.stdout.write(table(work))
        return
    if options.predict:
        predict(next(cell for cell in cells() if cell.key == options.predict), options.weights, work)
        return
    if options.data is None:
        parser.error("--data is needed: what python -m ppcls_compress.data.cifar10 --out DIR writes")
    todo = [
        cell
        for cell in cells()
        if fnmatch.fnmatch(cell.key, options.only) and not (work / cell.key / "cost.json").exists()
    ]
    work.mkdir(parents=True, exist_ok=True)
    data = images_in(options.data.resolve(), work)
    os.environ["CIFAR10_DIR"] = str(data)
    images = some_of(data / "train_list.txt", options.train_images, work) if options.train_images else None
    start = options.start.resolve().with_suffix("") if options.start else None
    runs = Runs(work, start, images)
    for cell in todo:
        sys.stdout.write(f"{cell.key}\n")
        sys.stdout.flush()
        if not options.list:
            run(cell, runs)


if __name__ == "__main__":
    main()

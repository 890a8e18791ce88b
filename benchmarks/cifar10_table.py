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
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "cifar10" / "resnet20.yaml"
ARCHS = {"resnet8": "CIFARResNet8", "resnet20": "CIFARResNet20"}
FLOAT_EPOCHS = {"resnet8": 3, "resnet20": 2}
ENDS = "per_layer: [{layers: [first, last], weight_bits: 8, activation_bits: 8}]"
TEACHER = "{teacher: START, weight: 0.5, temperature: 4.0}"
BETTER_TEACHER = "{teacher: RESNET20, arch: CIFARResNet20, weight: 0.5, temperature: 4.0}"


@dataclass(frozen=True)
class Cell:
    """One row of the table.

    Attributes:
        network: `resnet8` or `resnet20`.
        name: the row's name there.
        slim: the `Slim` section in YAML, or None; `START` in it stands for the prefix of the network's float weights,
            `RESNET20` for that of ResNet-20's after as many epochs as it gets.
        start: whether it begins with the network's float weights.
        tool: the command: `train` or `quantize`.
    """

    network: str
    name: str
    slim: str | None
    start: bool = True
    tool: str = "train"

    @property
    def key(self) -> str:
        """How the cell is called on the command line, and its folder."""
        return f"{self.network}/{self.name}"


def low_bits(quantizer: str, bits: int) -> str:
    """The `Slim.quant` mapping of a quantizer at one width, first and last layer at 8 bits."""
    return f"{{{quantizer}, weight_bits: {bits}, activation_bits: {bits}, {ENDS}}}"


def cells() -> list[Cell]:
    """Every row, the ones that others start from first."""
    rows = [Cell("resnet8", "float", None, start=False), Cell("resnet8", "float_on", None)]
    quantizers = {"pact": "name: pact", "qat": "name: qat", "lsq": "name: lsq"}
    for bits in (4, 8, 2, 3):
        rows += [
            Cell("resnet8", f"{name}_w{bits}a{bits}", f"{{quant: {low_bits(quantizer, bits)}}}")
            for name, quantizer in quantizers.items()
        ]
    upstream = "name: pact, compat: paddleslim"
    rows += [
        Cell("resnet8", "ptq_w8a8", "{quant: {name: ptq}}", tool="quantize"),
        Cell("resnet8", "pact_distill_w4a4", f"{{quant: {low_bits('name: pact', 4)}, distill: {TEACHER}}}"),
        Cell("resnet8", "pact_upstream_w4a4", f"{{quant: {low_bits(upstream, 4)}}}"),
        Cell("resnet8", "pact_upstream_w8a8", f"{{quant: {low_bits(upstream, 8)}}}"),
    ]
    for kept in (50, 70):
        rows += [
            Cell("resnet8", f"{criterion}_flops{kept}", f"{{prune: {{name: {criterion}, target_flops: 0.{kept}}}}}")
            for criterion in ("fpgm", "l1_norm")
        ]
    rows += [
        Cell("resnet8", "fpgm_flops50_pact_w8a8", "{prune: {name: fpgm, target_flops: 0.5}, quant: {name: pact}}"),
        Cell("resnet20", "float", None, start=False),
        Cell("resnet20", "pact_w4a4", f"{{quant: {low_bits('name: pact', 4)}}}"),
        Cell("resnet20", "pact_w8a8", f"{{quant: {low_bits('name: pact', 8)}}}"),
        Cell("resnet20", "fpgm_flops50", "{prune: {name: fpgm, target_flops: 0.5}}"),
        Cell("resnet20", "float_on", None),
        Cell("resnet8", "pact_distill20_w4a4", f"{{quant: {low_bits('name: pact', 4)}, distill: {BETTER_TEACHER}}}"),
    ]
    return rows


def command(cell: Cell, work: Path) -> list[str]:
    """What a user would type for the cell."""
    start = f"{work}/{cell.network}/float/{ARCHS[cell.network]}/latest"
    epochs, rate = (1, 0.01) if cell.start else (FLOAT_EPOCHS[cell.network], 0.1)
    settings = {
        "Arch.name": ARCHS[cell.network],
        "Global.output_dir": work / cell.key,
        "Global.epochs": epochs,
        "Global.print_batch_step": 100,
        "Optimizer.lr.learning_rate": rate,
        "Optimizer.lr.warmup_epoch": 0 if cell.start else 0.25,
        "DataLoader.Train.sampler.batch_size": 64,
    }
    if cell.slim:
        better = f"{work}/resnet20/float_on/{ARCHS['resnet20']}/latest"
        settings["Slim"] = cell.slim.replace("START", start).replace("RESNET20", better)
    if (own := work / cell.key / ARCHS[cell.network] / "latest.pdstates").exists():
        settings["Global.checkpoints"] = own.with_suffix("")
    elif cell.start:
        settings["Global.pretrained_model"] = start
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    return [sys.executable, str(ROOT / "tools" / f"{cell.tool}.py"), "-c", str(CONFIG), *options]


def run(cell: Cell, work: Path) -> None:
    """Train or calibrate the cell, then predict in a fresh process; each of its files says that a step is done."""
    folder = work / cell.key
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log:
        if not (folder / "trained.json").exists():
            made = command(cell, work)
            begun = time.perf_counter()
            subprocess.run(made, check=True, stdout=log, stderr=subprocess.STDOUT)
            described = [part.replace(str(work), "DIR").replace(f"{ROOT}/", "") for part in made[1:]]
            seconds = round(time.perf_counter() - begun, 1)
            write(folder / "trained.json", {**asdict(cell), "seconds": seconds, "command": ["python", *described]})
        name = "quantized" if cell.tool == "quantize" else "latest"
        prefix = folder / ARCHS[cell.network] / name
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
        "| network | cell | top-1 % | against `float_on` | multiply-adds | parameters | minutes |",
        "|---" * 7 + "|",
    ]
    for cell in cells():
        folder = work / cell.key
        if not (folder / "cost.json").exists():
            continue
        right = np.load(folder / "right.npy")
        base = work / cell.network / "float_on" / "right.npy"
        against = "{:+.2f} ± {:.2f}".format(*paired(right, np.load(base))) if base.exists() else ""
        spent = json.loads((folder / "trained.json").read_text())["seconds"] / 60
        size = json.loads((folder / "cost.json").read_text())
        lines.append(
            f"| {cell.network} | {cell.name} | {100 * right.mean():.2f} | {against} | {size['flops']:,} "
            f"| {size['params']:,} | {spent:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is left to do, or print the table."""
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
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
    if "CIFAR10_DIR" not in os.environ:
        sys.exit("CIFAR10_DIR is not set; make the images with python -m ppcls_compress.data.cifar10 --out DIR")
    todo = [
        cell
        for cell in cells()
        if fnmatch.fnmatch(cell.key, options.only) and not (work / cell.key / "cost.json").exists()
    ]
    for cell in todo:
        sys.stdout.write(f"{cell.key}\n")
        sys.stdout.flush()
        if not options.list:
            run(cell, work)


if __name__ == "__main__":
    main()

"""What `cifar10_table.py` runs: a cell for each row, its command, and what papers report for it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "cifar10" / "resnet20.yaml"
ARCHS = {"resnet8": "CIFARResNet8", "resnet20": "CIFARResNet20"}
EPOCHS = {"resnet8": 1, "resnet20": 3}
FLOAT_EPOCHS = {"resnet8": 3, "resnet20": 2}
ENDS = "per_layer: [{layers: [first, last], weight_bits: 8, activation_bits: 8}]"
TEACHER = "{teacher: START, weight: 0.5, temperature: 4.0}"
BETTER_TEACHER = "{teacher: RESNET20, arch: CIFARResNet20, weight: 0.5, temperature: 4.0}"
QUANTIZERS = {"pact": "name: pact", "lsq": "name: lsq", "qat": "name: qat"}
BATCH = 64

PAPERS = {"pact_w4a4": 90.8, "pact_w3a3": 90.6, "pact_w2a2": 88.9}
"""Top-1 that a cell's paper reports for ResNet-20 on all 10,000 test images, trained for some 200 epochs on 50,000.

Choi et al. 2018 (PACT), table 2: errors of 9.2, 9.4 and 11.1%, as github.com/KwangHoonAn/PACT quotes them beside its
reproduction. The table of He et al. 2019 (FPGM) could not be looked up: its authors' repository,
he-y/filter-pruning-geometric-median, has commands and a PDF, no figures as text. LSQ's paper reports ImageNet, that of
the L1 criterion (Li et al. 2017) deeper ResNets.
"""


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


@dataclass(frozen=True)
class Runs:
    """Where cells run, and from what.

    Attributes:
        work: folder of the runs.
        start: prefix of float weights of ResNet-20, in place of training them here.
        images: list of the images that cells after the float start train on; None takes all.
    """

    work: Path
    start: Path | None = None
    images: Path | None = None

    def float_weights(self, network: str) -> Path:
        """The prefix of a network's float weights."""
        if network == "resnet20" and self.start is not None:
            return self.start
        return self.work / network / "float" / ARCHS[network] / "latest"


def low_bits(quantizer: str, bits: int) -> str:
    """The `Slim.quant` mapping of a quantizer at one width, first and last layer at 8 bits."""
    return f"{{{quantizer}, weight_bits: {bits}, activation_bits: {bits}, {ENDS}}}"


def _compared(network: str) -> list[Cell]:
    """Every quantizer on every width and every criterion, what tells most first."""
    found = []
    for bits, kept in (((4, 2), 50), ((8, 3), 70)):
        found += [
            Cell(network, f"{name}_w{width}a{width}", f"{{quant: {low_bits(quantizer, width)}}}")
            for width in bits
            for name, quantizer in QUANTIZERS.items()
        ]
        found += [
            Cell(network, f"{criterion}_flops{kept}", f"{{prune: {{name: {criterion}, target_flops: 0.{kept}}}}}")
            for criterion in ("fpgm", "l1_norm")
        ]
    return found


def cells() -> list[Cell]:
    """Every row, the ones that others start from first."""
    upstream = "name: pact, compat: paddleslim"
    return [
        Cell("resnet8", "float", None, start=False),
        Cell("resnet8", "float_on", None),
        *_compared("resnet8"),
        Cell("resnet8", "ptq_w8a8", "{quant: {name: ptq}}", tool="quantize"),
        Cell("resnet8", "pact_distill_w4a4", f"{{quant: {low_bits('name: pact', 4)}, distill: {TEACHER}}}"),
        Cell("resnet8", "pact_upstream_w4a4", f"{{quant: {low_bits(upstream, 4)}}}"),
        Cell("resnet8", "pact_upstream_w8a8", f"{{quant: {low_bits(upstream, 8)}}}"),
        Cell("resnet8", "fpgm_flops50_pact_w8a8", "{prune: {name: fpgm, target_flops: 0.5}, quant: {name: pact}}"),
        Cell("resnet20", "float", None, start=False),
        Cell("resnet20", "float_on", None),
        *_compared("resnet20"),
        Cell("resnet20", "qat_largest_w2a2", f"{{quant: {low_bits('name: qat, observed_range: largest', 2)}}}"),
        Cell("resnet8", "pact_distill20_w4a4", f"{{quant: {low_bits('name: pact', 4)}, distill: {BETTER_TEACHER}}}"),
    ]


def command(cell: Cell, runs: Runs) -> list[str]:
    """What a user would type for the cell."""
    start = runs.float_weights(cell.network)
    epochs, rate = (EPOCHS[cell.network], 0.01) if cell.start else (FLOAT_EPOCHS[cell.network], 0.1)
    settings = {
        "Arch.name": ARCHS[cell.network],
        "Global.output_dir": runs.work / cell.key,
        "Global.epochs": epochs,
        "Global.print_batch_step": 100,
        "Global.eval_during_train": False,
        "Optimizer.lr.learning_rate": rate,
        "Optimizer.lr.warmup_epoch": 0 if cell.start else 0.25,
        "DataLoader.Train.sampler.batch_size": BATCH,
    }
    if cell.start and runs.images:
        settings["DataLoader.Train.dataset.cls_label_path"] = runs.images
    if cell.slim:
        better = f"{runs.work}/resnet20/float_on/{ARCHS['resnet20']}/latest"
        settings["Slim"] = cell.slim.replace("START", str(start)).replace("RESNET20", better)
    if (own := runs.work / cell.key / ARCHS[cell.network] / "latest.pdstates").exists():
        settings["Global.checkpoints"] = own.with_suffix("")
    elif cell.start:
        settings["Global.pretrained_model"] = start
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    return [sys.executable, str(ROOT / "tools" / f"{cell.tool}.py"), "-c", str(CONFIG), *options]

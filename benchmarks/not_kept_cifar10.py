"""What was tried for quantization and is not in the package, on a CIFAR ResNet-8: what it would change.

    export CIFAR10_DIR=...    # made by python -m ppcls_compress.data.cifar10 --out ...
    OMP_NUM_THREADS=1 python benchmarks/not_kept_cifar10.py --weights FILE.pdparams --work DIR

Cross-layer equalization (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
2019, equation 11) of the convolutions around each ReLU, before calibration; and batch-norm statistics taken anew after
an epoch of training with quantizers, which starts from the same weights. Printed are top-1 on the validation images
without and with it, and the paired difference with its 95% interval. Finished trainings stay in DIR.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from pathlib import Path

import numpy as np
from calibrations import load
from common import every_nth, trained
from reconstruction_cifar10 import CALIBRATION, CONFIG, quantized, right

ARCH = "CIFARResNet8"
ROUNDS = 2
"""Of equalization; a pair changes what its neighbours see."""
TRAININGS = {"PACT, 4 bits": ("pact", 4), "observed ranges, 3 bits": ("qat", 3)}
IMAGES, BATCHES = 5000, (30, 70)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="trained weights of a CIFARResNet8, .pdparams")
    parser.add_argument("--work", type=Path, required=True, help="the trainings go there")
    args = parser.parse_args()
    if "CIFAR10_DIR" not in os.environ:
        parser.error("CIFAR10_DIR: is not set")
    args.arch, args.work = ARCH, args.work.resolve()
    from ppcls_compress.config.load import load_config
    from ppcls_compress.engine import samples

    config = load_config(CONFIG, [f"Arch.name={ARCH}", "DataLoader.Train.sampler.batch_size=64"])
    calibration = samples.from_split(config, ("Train",), CALIBRATION).images
    validation = samples.from_split(config, ("Eval",), 10**6)
    sys.stdout.write("| tried | on | without % | with % | difference |\n|---|---|---|---|---|\n")
    for what, options in (("a scale per channel", {}), ("one scale", {"weight_quantizer": "AbsmaxQuantizer"})):
        found = [
            right(quantized(args, 4, None, calibration, prepared=prepared, **options), validation)
            for prepared in (lambda model: None, equalize)
        ]
        tell("cross-layer equalization", f"4-bit weights, {what}", *found)
    for name in TRAININGS:
        statistics_anew(args, name, config, validation)


def equalize(model) -> None:
    """Move scales between the two convolutions around each ReLU, so that each channel has equal ranges in both."""
    from ppcls_compress.slim import quant

    found = quant.quant_layers(model)
    names = [(name, name.replace("conv0", "conv1")) for name in found if "conv0" in name]
    pairs = [(found[name], found[follower]) for name, follower in names if follower in found]
    for first, second in pairs * ROUNDS:
        before, after = first.weight.numpy(), second.weight.numpy()
        gives, takes = np.abs(before).max(axis=(1, 2, 3)), np.abs(after).max(axis=(0, 2, 3))
        scale = np.where((gives > 0) & (takes > 0), np.sqrt(gives / np.maximum(takes, 1e-12)), 1).astype(np.float32)
        first.weight.set_value(before / scale[:, None, None, None])
        first.bias.set_value(first.bias.numpy() / scale)
        second.weight.set_value(after * scale[None, :, None, None])


def statistics_anew(args: argparse.Namespace, name: str, config, validation) -> None:
    """Train an epoch with quantizers, then take the batch-norm statistics anew from so many batches."""
    from ppcls_compress.engine.train import training_loader
    from ppcls_compress.slim.prune.cut.recalibration import recalibrate

    quantizer, bits = TRAININGS[name]
    images = args.work / "train_list.txt"
    args.work.mkdir(parents=True, exist_ok=True)
    images.write_text(every_nth(Path(os.environ["CIFAR10_DIR"], "train_list.txt"), IMAGES))
    settings = {
        "Global.epochs": 1,
        "Global.eval_during_train": False,
        "Global.pretrained_model": args.weights.resolve().with_suffix(""),
        "Optimizer.lr.learning_rate": 0.01,
        "Optimizer.lr.warmup_epoch": 0,
        "DataLoader.Train.sampler.batch_size": 64,
        "DataLoader.Train.dataset.cls_label_path": images,
        "Slim.quant": f"{{name: {quantizer}, weight_bits: {bits}, activation_bits: {bits}}}",
    }
    model = load(ARCH, 10, trained(CONFIG, args.work / f"{quantizer}{bits}", ARCH, settings))
    exact = right(model, validation)
    for count in BATCHES:
        recalibrate(model, (batch for batch, _ in itertools.islice(training_loader(config), count)))
        model.eval()
        tell(f"batch-norm statistics from {count} batches", name, exact, right(model, validation))


def tell(tried: str, where: str, without: np.ndarray, done: np.ndarray) -> None:
    """A line of the table."""
    apart = done - without
    half = 196 * apart.std(ddof=1) / np.sqrt(apart.size)
    shares = f"{100 * without.mean():.2f} | {100 * done.mean():.2f}"
    sys.stdout.write(f"| {tried} | {where} | {shares} | {100 * apart.mean():+.2f} ± {half:.2f} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Weights of few bits on a trained CIFAR-10 network: nearest levels beside rounding that is learned, without training.

    export CIFAR10_DIR=...    # made by python -m ppcls_compress.data.cifar10 --out ...
    OMP_NUM_THREADS=1 python benchmarks/reconstruction_cifar10.py --weights FILE.pdparams [--arch CIFARResNet8]

Printed are top-1 of the float and of each quantized model on the validation images, and the paired difference from the
float one with its 95% interval. All calibrate on the same images.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from calibrations import load

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
CONFIG = ROOT / "configs" / "cifar10" / "resnet20.yaml"
CALIBRATION, BATCH = 512, 64


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="trained weights, .pdparams")
    parser.add_argument("--arch", default="CIFARResNet8")
    parser.add_argument("--bits", type=int, nargs="*", default=[8, 4, 3, 2], help="of the weights")
    args = parser.parse_args()
    if "CIFAR10_DIR" not in os.environ:
        parser.error("CIFAR10_DIR: is not set")
    from ppcls_compress.config.load import load_config
    from ppcls_compress.engine import samples

    config = load_config(CONFIG, [f"Arch.name={args.arch}"])
    calibration = samples.from_split(config, ("Train",), CALIBRATION)
    validation = samples.from_split(config, ("Eval",), 10**6)
    exact = right(network(args), validation)
    sys.stdout.write("| weights | rounding | top-1 % | against float | s |\n|---|---|---|---|---|\n")
    sys.stdout.write(row("float", "", exact, exact, 0))
    for bits in args.bits:
        for name, reconstruction in (("nearest", None), ("learned", {})):
            start = time.perf_counter()
            model = quantized(args, bits, reconstruction, calibration.images)
            seconds = time.perf_counter() - start
            sys.stdout.write(row(f"{bits} bits", name, right(model, validation), exact, seconds))
            sys.stdout.flush()


def network(args: argparse.Namespace):
    """The float network with its weights."""
    return load(args.arch, 10, args.weights.with_suffix(""))


def quantized(
    args: argparse.Namespace,
    bits: int,
    reconstruction: dict | None,
    images: np.ndarray,
    prepared: Callable = lambda model: None,
    **more: object,
):
    """Calibrated, with weights of so many bits and activations of 8; `prepared` is shown the model before."""
    import paddle

    from ppcls_compress.slim import quant
    from ppcls_compress.slim.options import QuantOptions

    options = QuantOptions(name="ptq", weight_bits=bits, reconstruction=reconstruction, **more)
    net, _ = quant.prepare(network(args), options, inputs=[[1, 3, 32, 32]])
    prepared(net)
    batches = [paddle.to_tensor(batch) for batch in np.split(images, range(BATCH, len(images), BATCH))]
    quant.calibrate(net, batches, reconstruction=options.reconstruction)
    net.eval()
    return net


def right(model, validation) -> np.ndarray:
    """Whether each image is answered rightly, 0 or 1."""
    import paddle

    with paddle.no_grad():
        batches = np.split(validation.images, range(BATCH, len(validation.images), BATCH))
        answers = np.concatenate([model(paddle.to_tensor(batch)).numpy().argmax(1) for batch in batches])
    return (answers == validation.labels.reshape(-1)).astype(float)


def row(weights: str, rounding: str, found: np.ndarray, exact: np.ndarray, seconds: float) -> str:
    """A line of the table."""
    difference = found - exact
    half = 1.96 * difference.std(ddof=1) / np.sqrt(difference.size)
    told = f"{100 * difference.mean():+.2f} ± {100 * half:.2f}"
    return f"| {weights} | {rounding} | {100 * found.mean():.2f} | {told} | {seconds:.0f} |\n"


if __name__ == "__main__":
    main()

"""How much longer a PACT W8A8 training step takes than a float one: CIFAR ResNet-20, batch 128.

    python benchmarks/pact_step_time.py [--network CIFARResNet20] [--rounds 15] [--threads 2] [--clock wall]

The variants take turns within each round, and a ratio is the median over the rounds of (variant / float) in that round,
so that a machine that slows down slows all of them; that of the shortest steps stands beside it. `alpha` has the grids
that calibration picks, which is the default, `symmetric` one symmetric range for each tensor. `paddleslim` is what
PaddleSlim's QAT does with PACT: its formula over Paddle's ImperativeQuantAware, observers of outputs included.
`--clock cpu` counts processor time, which says more on a machine that others use too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

TARGETS = {"alpha": 1.06, "moving_average": 1.10}
NETWORK = "CIFARResNet20"
VARIANTS = ("float", "alpha", "symmetric", "moving_average", "paddleslim")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default=NETWORK)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS[1:], default=list(VARIANTS[1:]))
    return parser.parse_args()


def build(variant: str, images, network: str):
    """A network in one of the variants, ready to train."""
    import paddle

    from ppcls_compress import models
    from ppcls_compress.slim import quant
    from ppcls_compress.slim.options import QuantOptions
    from ppcls_compress.slim.quant.quantizers.learned import PaddleSlimPact

    paddle.seed(0)
    model = models.build(network, class_num=10)
    if variant == "paddleslim":
        paddle.quantization.ImperativeQuantAware(
            quantizable_layer_type=["Conv2D", "Linear"],
            weight_quantize_type="channel_wise_abs_max",
            act_preprocess_layer=PaddleSlimPact,
            onnx_format=True,
        ).quantize(model)
    elif variant != "float":
        options = {"asymmetric": False} if variant == "symmetric" else {"grid": variant}
        model, _ = quant.prepare(model, QuantOptions(name="pact", **options), inputs=[list(images.shape)])
        quant.calibrate(model, [images])
    return model


def stepper(model, images, labels) -> Callable[[], None]:
    """One training step with momentum."""
    import paddle

    optimizer = paddle.optimizer.Momentum(1e-3, 0.9, parameters=model.parameters(), weight_decay=1e-4)
    model.train()

    def step() -> None:
        loss = paddle.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        loss.item()

    return step


def measure(steps: dict[str, Callable[[], None]], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds per step and variant; the order rotates from round to round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    names = list(steps)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            start = clock()
            steps[name]()
            times[name].append(clock() - start)
    return times


def main() -> None:
    """Measure, and print a table and one line of JSON."""
    options = arguments()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import paddle

    images = paddle.randn([options.batch, 3, 32, 32])
    labels = paddle.randint(0, 10, [options.batch])
    variants = ["float", *options.variants]
    steps = {variant: stepper(build(variant, images, options.network), images, labels) for variant in variants}
    times = measure(steps, options.rounds, time.perf_counter if options.clock == "wall" else time.process_time)
    rows = {}
    for name in variants:
        ratios = [own / reference for own, reference in zip(times[name], times["float"], strict=True)]
        rows[name] = {
            "seconds": statistics.median(times[name]),
            "ratio": statistics.median(ratios),
            "best": min(times[name]) / min(times["float"]),
        }
        aimed = name in TARGETS and options.network == NETWORK
        target = f"  target {TARGETS[name]:.2f}" if aimed else ""
        row = rows[name]
        print(f"{name:15s} {row['seconds']:.3f} s  {row['ratio']:.3f} x float  shortest {row['best']:.3f} x{target}")
    print(json.dumps({"clock": options.clock, "rounds": options.rounds, "batch": options.batch, **rows}))


if __name__ == "__main__":
    main()

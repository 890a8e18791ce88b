"""How far our fake-quantized forward passes are from PaddleSlim's, on the same inputs, weights and ranges.

    ~/peers/paddleslim3/bin/python benchmarks/quant_parity.py [--write tests/data/paddleslim_quant.npz]

Runs in the environment that `peer_env.py paddleslim-paddle3` sets up. PaddleSlim's QAT puts layers of Paddle's into the
network; single quantizers are compared with those, and whole networks, three training forwards and one evaluation, with
what PaddleSlim makes. `--write` keeps what PaddleSlim's single quantizers gave, for tests where it is not installed;
convolutions differ in the last digit from machine to machine, and rounding makes a step of that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
from paddle.nn.quant import lsq, quant_layers

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from common import draw, fill  # noqa: E402

from ppcls_compress.slim import quant  # noqa: E402
from ppcls_compress.slim.options import QuantOptions  # noqa: E402
from ppcls_compress.slim.paddleslim import prune_backend  # noqa: E402
from ppcls_compress.slim.quant.quantizers import activations, weights  # noqa: E402

TARGET = 1e-6
BITS = (2, 3, 4, 8, 16)
IMAGES = [draw(f"images {index}", [4, 3, 8, 8]) for index in range(4)]
WEIGHT_SHAPES = {0: [6, 4, 3, 3], 1: [24, 5]}
LSQ_STEP = 0.3

Outputs = list[np.ndarray]


def _run(layer: paddle.nn.Layer, inputs: list[np.ndarray]) -> Outputs:
    """Training forwards over all inputs but the last, evaluation on that."""
    outputs = []
    for index, values in enumerate(inputs):
        layer.train() if index + 1 < len(inputs) else layer.eval()
        outputs.append(layer(paddle.to_tensor(values)).numpy())
    return outputs


class Activation:
    """One activation quantizer."""

    def __init__(self, kind: str, bits: int) -> None:
        self.kind, self.bits = kind, bits
        self.name = f"activation {kind} {bits} bits"

    def ours(self) -> Outputs:
        """What our layer computes."""
        if self.kind == "lsq":
            layer = activations.build("layer", QuantOptions(name="lsq", activation_bits=self.bits).as_paddleslim())
            layer.set_range(LSQ_STEP / 2 ** (self.bits - 4) * (2 ** (self.bits - 1) - 1))
        else:
            options = QuantOptions(name="qat", activation_quantize_type=self.kind, activation_bits=self.bits)
            layer = activations.build("layer", options.as_paddleslim())
        return _run(layer, self._inputs())

    def theirs(self) -> Outputs:
        """What Paddle's layer computes, which PaddleSlim uses."""
        if self.kind == "range_abs_max":
            return [_range_abs_max(values, self.bits) for values in self._inputs()]
        if self.kind == "lsq":
            layer = lsq.FakeQuantActLSQPlus(self.bits, symmetric=True)
            _start(layer, LSQ_STEP / 2 ** (self.bits - 4), [])
        elif self.kind == "abs_max":
            layer = quant_layers.FakeQuantAbsMax(quant_bits=self.bits)
        else:
            layer = quant_layers.FakeQuantMovingAverageAbsMax(quant_bits=self.bits)
        return _run(layer, self._inputs())

    def _inputs(self) -> Outputs:
        # PaddleSlim's operator for ranges over a window is one of static programs: a single step is all it takes here.
        return [IMAGES[0], IMAGES[0]] if self.kind == "range_abs_max" else IMAGES


class Weight:
    """One weight quantizer, channels along `axis`."""

    def __init__(self, kind: str, bits: int, axis: int = 0) -> None:
        self.kind, self.bits, self.axis = kind, bits, axis
        self.name = f"weight {kind} {bits} bits axis {axis}"
        self.values = draw(self.name, WEIGHT_SHAPES[axis])

    def ours(self) -> Outputs:
        """What our layer computes."""
        options = QuantOptions(name="qat", weight_quantize_type=self.kind, weight_bits=self.bits).as_paddleslim()
        layer = weights.build("layer", options, paddle.to_tensor(self.values), self.axis)
        if "lsq" in self.kind:
            steps = self._papers_steps()
            layer.set_state_dict({"s": steps, "_previous": steps})
        return _run(layer, [self.values])

    def theirs(self) -> Outputs:
        """What Paddle's layer computes, which PaddleSlim uses; where the range is trained, from the paper's start."""
        channels = self.values.shape[self.axis]
        if self.kind == "abs_max":
            layer = quant_layers.FakeQuantAbsMax(quant_bits=self.bits, quant_on_weight=True)
        elif self.kind == "channel_wise_abs_max":
            layer = quant_layers.FakeQuantChannelWiseAbsMax(
                channel_num=channels, quant_bits=self.bits, quant_axis=self.axis, quant_on_weight=True
            )
        else:
            per_channel = self.kind == "channel_wise_lsq_weight"
            layer = lsq.FakeQuantWeightLSQPlus(
                self.bits, per_channel=per_channel, channel_num=channels if per_channel else 1
            )
            steps = self._papers_steps()
            _start(layer, steps, [len(steps)])
        return _run(layer, [self.values])

    def _papers_steps(self) -> np.ndarray:
        """The steps that LSQ starts with in the paper; ours starts with smaller ones at many bits."""
        others = None if self.kind == "lsq_weight" else tuple(range(1, self.values.ndim))
        mean = np.abs(self.values).mean(axis=others).reshape(-1)
        return (2 * mean / np.sqrt(2 ** (self.bits - 1) - 1)).astype(np.float32)


class Network:
    """A network under PaddleSlim's QAT, and under our `backend: native` with `compat: paddleslim`."""

    def __init__(self, alpha: float | None = None, **options: object) -> None:
        self.alpha, self.options = alpha, options
        described = ", ".join(f"{key} {value}" for key, value in options.items())
        self.name = f"network, {described}" + ("" if alpha is None else f", alpha {alpha}")

    def ours(self) -> Outputs:
        """What the native backend computes."""
        pact = "PACT" in self.options.values() or self.options["name"] == "pact"
        options = QuantOptions(**self.options, compat="paddleslim" if pact else None)
        return self._outputs(options.as_paddleslim())

    def theirs(self) -> Outputs:
        """What PaddleSlim's QAT computes."""
        return self._outputs(QuantOptions(**self.options, backend="paddleslim"))

    def _outputs(self, options: QuantOptions) -> Outputs:
        nn = paddle.nn
        model = nn.Sequential(
            nn.Conv2D(3, 8, 3, padding=1), nn.BatchNorm2D(8), nn.ReLU(),
            nn.Conv2D(8, 8, 3, padding=1, padding_mode="reflect", groups=8),
            nn.Conv2D(8, 4, 1, stride=2, bias_attr=False), nn.Hardswish(), nn.Flatten(), nn.Linear(64, 5),
        )  # fmt: skip
        fill(model)
        model, _ = quant.prepare(model, options)
        for key, value in model.state_dict().items():
            if self.alpha is not None and key.endswith("_preprocess.alpha"):
                value.set_value(np.array([self.alpha], np.float32))
        with paddle.no_grad():
            return _run(model, IMAGES)


Case = Activation | Weight | Network


def cases() -> list[Case]:
    """Everything that both sides implement."""
    found: list[Case] = [
        Activation(kind, bits)
        for kind in ("moving_average_abs_max", "abs_max", "range_abs_max", "lsq")
        for bits in BITS
    ]
    # Paddle's LSQ mixes up the channels of a linear layer's weight, [in, out], so only convolutions are compared.
    kinds = [("abs_max", 0), ("channel_wise_abs_max", 0), ("channel_wise_abs_max", 1)]
    kinds += [("lsq_weight", 0), ("channel_wise_lsq_weight", 0)]
    found += [Weight(kind, bits, axis) for kind, axis in kinds for bits in BITS]
    for bits in (2, 4, 8):
        shared = {"weight_bits": bits, "activation_bits": bits}
        found += [
            Network(name="qat", **shared),
            Network(name="qat", weight_quantize_type="abs_max", moving_rate=0.7, **shared),
            Network(name="pact", **shared),
            Network(name="pact", alpha=0.8, **shared),
            Network(name="pact", weight_preprocess_type="PACT", alpha=0.2, **shared),
        ]
    return found


def difference(first: Outputs, second: Outputs) -> float:
    """The largest difference, relative to the largest value of the second."""
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in zip(first, second, strict=True))


def _start(layer: paddle.nn.Layer, step: np.ndarray | float, shape: list[int]) -> None:
    """Give one of Paddle's LSQ layers a step size, past its own initialization."""
    layer.s.set_value(np.full(shape, step, np.float32))
    layer.g, layer.init_state = paddle.to_tensor(1.0), layer.batch_init + 1


def _range_abs_max(values: np.ndarray, bits: int) -> np.ndarray:
    """PaddleSlim's operator for ranges over a window, which gives integers, in its first step."""
    operator: Callable = paddle._C_ops.fake_quantize_range_abs_max
    start, step = paddle.full([1], 1e-3), paddle.zeros([1], "int64")
    integers, scale, *_ = operator(paddle.to_tensor(values), start, step, 10000, bits, False, 1)
    return (integers * scale / (2 ** (bits - 1) - 1)).numpy()


def main() -> int:
    """Compare, print the differences, and return 1 if one is above the target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep PaddleSlim's results in this .npz")
    options = parser.parse_args()
    prune_backend.load("Slim.quant")
    kept, worst = {}, 0.0
    for case in cases():
        theirs = case.theirs()
        found = difference(case.ours(), theirs)
        worst = max(worst, found)
        print(f"{found:9.2e}  {case.name}")
        if not isinstance(case, Network):
            kept |= {f"{case.name}/{index}": values for index, values in enumerate(theirs)}
    print(f"largest difference {worst:.2e} of the largest value, target {TARGET:.0e}; Paddle {paddle.__version__}")
    if options.write:
        np.savez_compressed(options.write, **kept)
    return int(worst > TARGET)


if __name__ == "__main__":
    sys.exit(main())

"""A quantized network as the program that Paddle Lite's `opt` makes integer kernels of.

It is the older format, with a fake quantizer on the input and one on the weight of each quantized convolution, as
PaddleSlim leaves them: weights are float, on their grids, and `opt` turns them to int8. All integers are signed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import paddle
from paddle import inference

from ppcls_compress.deploy.notes import Written, some
from ppcls_compress.deploy.paddle import lite_rules, onednn
from ppcls_compress.deploy.paddle.lite_rules import BITS, INPUT, LEVELS, WEIGHT
from ppcls_compress.deploy.paddle.onednn_lower import Lowering
from ppcls_compress.errors import NoFormError
from ppcls_compress.postprocess.base import SOFTMAX
from ppcls_compress.slim import quant
from ppcls_compress.slim.quant import InputGrid

_HALF_AWAY = 1
_OTHER_NAMES = {"silu": "swish"}
_TOLD = 3
_READ = (
    "Paddle Lite's opt reads it: opt --model_file=inference.pdmodel --param_file=inference.pdiparams "
    "--valid_targets=arm --optimize_out=NAME"
)


class LiteLowering(Lowering):
    """Quantizers that Paddle Lite knows; a tensor keeps no range but for those who read it through one."""

    target: ClassVar[str] = "Paddle Lite"

    def emit(self, kind: str, inputs: Mapping[str, str | list[str]], output: str = "Out", **options: object) -> str:
        """Add an operator with one result, by the name that Paddle Lite has for it; returns the result's name."""
        return super().emit(_OTHER_NAMES.get(kind, kind), inputs, output, **options)

    def rounded_weight(self, layer: str, integers: np.ndarray, limits: np.ndarray) -> str:
        """The tensor of a weight; a channel of zeros is zero on any grid."""
        limits = np.where(limits > 0, limits, 1.0).astype(np.float32)
        steps = limits.astype(np.float64) / LEVELS
        weight = self.program.constant(f"{layer}.weight", (integers * steps.reshape(-1, 1, 1, 1)).astype(np.float32))
        ends = {"OutScale": self.program.constant(f"{layer}.weight_limit", limits)}
        options = {"bit_length": BITS, "quant_axis": 0, "round_type": _HALF_AWAY}
        return self.emit(WEIGHT, {"X": weight}, also=ends, **options)

    def rounded_input(self, value: str, grid: InputGrid) -> str:
        """The tensor of a value on its grid; of an unsigned one on the signed one that ends there."""
        key = (value, grid)
        if key not in self._rounded:
            source = self.name(value)
            if grid.clip is not None:
                source = self.emit("clip", {"X": source}, min=0.0 if grid.unsigned else -grid.clip, max=grid.clip)
            end = self.program.constant("input_limit", np.array([grid.limit], np.float32))
            options = {"bit_length": BITS, "is_test": True, "round_type": _HALF_AWAY}
            self._rounded[key] = self.emit(INPUT, {"X": source, "InScale": end}, also={"OutScale": end}, **options)
        return self._rounded[key]


def export(model: paddle.nn.Layer, folder: str | Path, *, image_shape: Sequence[int], ending: str = SOFTMAX) -> Written:
    """Write `folder`/inference.pdmodel and .pdiparams, batch norms folded, free batch size.

    Args:
        model: float or fake-quantized, maps [N, C, H, W] images to [N, classes]; neither it nor Paddle's mode changes.
        folder: exists.
        image_shape: (C, H, W).
        ending: `softmax` or `sigmoid`, for an output of probabilities; `none` for logits.

    Raises:
        NoFormError: a layer or operator has no form for Paddle Lite; says which.
        UserError: a layer is not calibrated, or the network's forward pass fails.
    """
    learned = quant.grids(model) if quant.quant_layers(quant.native(model)) else {}
    lowering, output = onednn.lowered(model, learned, image_shape, ending, LiteLowering)
    broken = lite_rules.check(lowering.program)
    if broken:
        more = f"; and {len(broken) - _TOLD} more" if broken[_TOLD:] else ""
        raise NoFormError(f"breaks rules of Paddle Lite: {'; '.join(broken[:_TOLD])}{more}")
    lowering.program.save(output, Path(folder) / onednn.NETWORK, Path(folder) / onednn.PARAMETERS)
    notes = [*onednn.symmetric(learned), *onednn.clipped(learned), *_signed(learned), *onednn.left_float(model)]
    return Written(lowering.layers(), [*notes, _READ, "Paddle Lite: rules checked, not run"])


def _signed(grids: Mapping[str, quant.LayerGrid]) -> list[str]:
    coarser = [name for name, grid in grids.items() if grid.plain().input.unsigned]
    if not coarser:
        return []
    return [
        f"{some(coarser)}: integers are signed here, so that inputs have half of their levels; unsigned: false is exact"
    ]


def create(folder: str | Path, threads: int) -> inference.Predictor:
    """The exported program in Paddle Inference, which computes its quantizers in float.

    Args:
        folder: that `export` wrote to.
        threads: for the arithmetic.
    """
    config = inference.Config(str(Path(folder) / onednn.NETWORK), str(Path(folder) / onednn.PARAMETERS))
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    config.disable_mkldnn()
    return inference.create_predictor(config)

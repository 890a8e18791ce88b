"""Whether a converted graph answers as the network does: converters err without a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ppcls_compress.deploy import extras
from ppcls_compress.deploy.network import logits_of
from ppcls_compress.errors import UserError, one_line

_TOLERANCE = 0.01
"""Of the largest logit. Float32 in another order is a thousand times closer, a wrong operator far beyond."""
_ROUNDING = 1e-5
"""Logits that all are as small as this consist of rounding."""
_IMAGES = 2  # so that a batch size written into the graph shows
_RUNTIMES = ("onnxruntime", "openvino")


@dataclass(frozen=True, eq=False)
class Probe:
    """Random images and what the network answers.

    Attributes:
        images: float32 [2, C, H, W].
        logits: [2, classes].
    """

    images: np.ndarray
    logits: np.ndarray

    def check(self, path: Path) -> None:
        """Compare a graph's answers, in ONNX Runtime or else OpenVINO, if one of them is installed.

        Raises:
            UserError: the graph does not run, or answers otherwise.
        """
        from ppcls_compress.deploy.onnx import runtime

        name = next((name for name in _RUNTIMES if not extras.missing([name])), None)
        if name is None:
            return
        try:
            found = runtime.load(path, name, threads=1).run(self.images)
        except Exception as error:  # of the runtime's own kinds, which have no common one
            said = one_line(str(error).removeprefix(f"{path}: "), 200)
            raise UserError(f"{name} does not run what it wrote: {said}") from error
        if found.shape != self.logits.shape:
            raise UserError(f"logits of shape {list(found.shape)}, not {list(self.logits.shape)}")
        distance, largest = np.abs(found - self.logits).max(), np.abs(self.logits).max()
        if np.isfinite(self.logits).all() and not distance <= _TOLERANCE * largest + _ROUNDING:
            share = distance / (largest + _ROUNDING)
            raise UserError(f"what it wrote is up to {share:.1%} of the largest logit from the network")


def probe(model: paddle.nn.Layer, image_shape: Sequence[int]) -> Probe:
    """Ask the network."""
    images = np.random.default_rng(0).standard_normal((_IMAGES, *image_shape), np.float32)
    return Probe(images, logits_of(model, images))

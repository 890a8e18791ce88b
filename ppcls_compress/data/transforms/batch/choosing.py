"""A batch transform that is one of several, drawn for each batch."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import model_validator

from ppcls_compress.data.transforms.base import BATCH_TRANSFORMS, BatchStep, BatchTransform
from ppcls_compress.data.transforms.batch.mixing import CutmixOperator, FmixOperator, MixupOperator
from ppcls_compress.declare import Fraction


class _SampledMixup(MixupOperator):
    prob: Fraction = 0.0


class _SampledCutmix(CutmixOperator):
    prob: Fraction = 0.0


class _SampledFmix(FmixOperator):
    prob: Fraction = 0.0


@BATCH_TRANSFORMS.declare
class OpSampler(BatchTransform):
    """One of the transforms named, each with its `prob` beside its own options, or none with what is left of 1.

    Example:
        `{OpSampler: {MixupOperator: {alpha: 0.8, prob: 0.5}, CutmixOperator: {alpha: 1.0, prob: 0.5}}}`
    """

    MixupOperator: _SampledMixup | None = None
    CutmixOperator: _SampledCutmix | None = None
    FmixOperator: _SampledFmix | None = None

    @model_validator(mode="after")
    def _probabilities_fit(self) -> Self:
        total = sum(op.prob for op in self._named())
        if total > 1 + 1e-9:
            raise ValueError(f"the probabilities sum to {total:g}, more than 1")
        if total == 0:
            raise ValueError("does nothing; give at least one of the transforms a prob above 0")
        return self

    def _named(self) -> list[_SampledMixup | _SampledCutmix | _SampledFmix]:
        return [op for op in (self.MixupOperator, self.CutmixOperator, self.FmixOperator) if op is not None]

    def step(self) -> BatchStep:
        """Mixes one batch."""
        ops = self._named()
        steps, ends = [op.step() for op in ops], np.cumsum([op.prob for op in ops])

        def step(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            drawn = rng.random()
            for chosen, end in zip(steps, ends, strict=True):
                if drawn < end:
                    return chosen(images, targets, rng)
            return images, targets

        return step

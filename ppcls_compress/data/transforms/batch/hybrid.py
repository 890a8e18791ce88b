"""mixup or CutMix with the image at the same place from the end of the batch, for the batch or each image by itself."""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

import numpy as np
from pydantic import model_validator

from ppcls_compress.data.transforms.base import BATCH_TRANSFORMS, BatchStep, BatchTransform, Interval
from ppcls_compress.data.transforms.batch.mixing import blend, box, part
from ppcls_compress.declare import Fraction, NonNegative, PositiveInt


class _Draw(NamedTuple):
    """How one image is mixed: blended with a weight of its own, or with the box of another pasted in."""

    kept: float
    pasted: tuple[slice, slice] | None


_UNCHANGED = _Draw(1.0, None)


@BATCH_TRANSFORMS.declare
class MixupCutmixHybrid(BatchTransform):
    """mixup or CutMix, and label smoothing.

    Attributes:
        mixup_alpha: the weight ~ Beta(mixup_alpha, mixup_alpha); 0 switches mixup off.
        cutmix_alpha: likewise.
        cutmix_minmax: least and most part of each side that a box has, which switches CutMix on whatever its alpha is.
        prob: of mixing at all.
        switch_prob: of CutMix where both are on.
        mode: draw for the whole `batch`, for each `pair` of images that are mixed with one another, or for each image,
            `elem`.
        correct_lam: the target counts the box as it was cut off at the border.
        label_smoothing: part of the target that all classes share.
        num_classes: must be the number of classes.
    """

    mixup_alpha: NonNegative = 1.0
    cutmix_alpha: NonNegative = 0.0
    cutmix_minmax: Interval | None = None
    prob: Fraction = 1.0
    switch_prob: Fraction = 0.5
    mode: Literal["batch", "pair", "elem"] = "batch"
    correct_lam: bool = True
    label_smoothing: Fraction = 0.1
    num_classes: PositiveInt = 4

    @model_validator(mode="after")
    def _something_is_on(self) -> Self:
        if self.cutmix_minmax is None and self.mixup_alpha == self.cutmix_alpha == 0:
            raise ValueError("mixes nothing; set mixup_alpha or cutmix_alpha above 0, or cutmix_minmax")
        if self.cutmix_minmax is not None and not 0 <= self.cutmix_minmax[0] < self.cutmix_minmax[1] <= 1:
            raise ValueError(
                f"cutmix_minmax: expected [low, high] with 0 <= low < high <= 1, found {list(self.cutmix_minmax)}"
            )
        return self

    def misfit(self, class_num: int) -> tuple[str, str] | None:
        """The number of classes."""
        if self.num_classes == class_num:
            return None
        return "num_classes", f"found {self.num_classes}, the network tells {class_num} classes apart"

    def step(self) -> BatchStep:
        """Mixes one batch."""

        def step(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            draws = self._draws(len(images), images.shape[2:], rng)
            others = images[::-1].copy()
            for image, other, draw in zip(images, others, draws, strict=True):
                if draw.pasted is not None:
                    image[:, *draw.pasted] = other[:, *draw.pasted]
                elif draw.kept != 1:
                    blend(image, other, draw.kept)
            kept = np.array([draw.kept for draw in draws])[:, None]
            shared = np.float32(self.label_smoothing)
            smooth = targets * (1 - shared) + shared / targets.shape[1]
            return images, blend(smooth, smooth[::-1].copy(), kept)

        return step

    def _draws(self, count: int, shape: tuple[int, int], rng: np.random.Generator) -> list[_Draw]:
        """How each image is mixed."""
        if self.mode == "batch":
            return [self._draw(shape, rng)] * count
        if self.mode == "elem":
            return [self._draw(shape, rng) for _ in range(count)]
        half = [self._draw(shape, rng) for _ in range(count // 2)]
        return half + [_UNCHANGED] * (count % 2) + half[::-1]

    def _draw(self, shape: tuple[int, int], rng: np.random.Generator) -> _Draw:
        if rng.random() >= self.prob:
            return _UNCHANGED
        cutmix = self.cutmix_alpha > 0 or self.cutmix_minmax is not None
        if not (cutmix and (self.mixup_alpha == 0 or rng.random() < self.switch_prob)):
            return _Draw(rng.beta(self.mixup_alpha, self.mixup_alpha), None)
        if self.cutmix_minmax is not None:
            pasted = _inner_box(shape, self.cutmix_minmax, rng)
            return _Draw(1 - part(*pasted, shape), pasted)
        kept = rng.beta(self.cutmix_alpha, self.cutmix_alpha)
        pasted = box(shape, kept, rng)
        return _Draw(1 - part(*pasted, shape) if self.correct_lam else kept, pasted)


def _inner_box(shape: tuple[int, int], limits: Interval, rng: np.random.Generator) -> tuple[slice, slice]:
    """A box inside the image, each side of it between parts of the image's."""
    slices = []
    for length in shape:
        least, most = (int(length * limit) for limit in limits)
        side = int(rng.integers(least, max(most, least + 1)))
        start = int(rng.integers(max(length - side, 1)))
        slices.append(slice(start, start + side))
    return slices[0], slices[1]

"""How much worse one network may be than another, given how both answered the same images."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, sqrt
from statistics import NormalDist

import numpy as np

ALPHA = 0.05
"""What is left of the confidence, 95%."""
_FIRST = 0.8
RESAMPLED = 2000
_BEYOND = 5
"""Draws, at least, that are to lie beyond the bound."""


def levels(count: int) -> list[float]:
    """The error that each of `count` candidates may make which are tested one after another until one passes.

    They add up to less than `ALPHA`, so that the one that passes keeps what it promises with 95% confidence however
    many failed before it (Bonferroni's inequality, with unequal shares); the first gets four fifths of it, each later
    one four fifths of what is left.
    """
    return [ALPHA * _FIRST * (1 - _FIRST) ** index for index in range(count)]


def paired_bound(lost: int, gained: int, count: int, alpha: float = ALPHA) -> float:
    """The upper end of the one-sided score interval of a difference of paired proportions, a share of the images.

    Of T. Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design, Statistics in Medicine 17 (1998), 891-908: the drop d at which

        (lost - gained - count d) / sqrt(count (2 q + d (1 - d))) = -z(1 - alpha)

    where q is the most likely share of gained images if the drop were d, the larger root of A q^2 + B q + C with
    A = 2 count, B = -lost - gained + (2 count - lost + gained) d, C = -gained d (1 - d). Unlike a bootstrap it does not
    vanish where no answer differs: then it is z^2 / (count + z^2).

    Args:
        lost: images that the dense network is right about and the other is not.
        gained: those that it is the other way round with.
        count: all images.

    Example:
        >>> round(100 * paired_bound(0, 0, 180), 2)  # points that 180 images without a loss leave open
        1.48
    """
    z = NormalDist().inv_cdf(1 - alpha)

    def excess(drop: float) -> float:
        a, b, c = 2 * count, -lost - gained + (2 * count - lost + gained) * drop, -gained * drop * (1 - drop)
        share = (sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        spread = sqrt(max(count * (2 * share + drop * (1 - drop)), 0.0))
        return lost - gained - count * drop + z * spread

    low, high = (lost - gained) / count, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high


def resampled_bound(drop: Callable[[np.ndarray], float], count: int, alpha: float = ALPHA, *, seed: int = 0) -> float:
    """The upper end of the paired bootstrap interval of a drop of any metric, by percentiles (Efron 1979).

    Where every draw gives the same drop, or none gives a loss, the images show nothing of what is lost, and the
    interval would end at what they show whatever their number. Then there is added the share of images that may differ
    and, with this confidence, would still not have been among them: 1 - alpha^(1 / count), for a metric from 0 to 1.

    Args:
        drop: positions of images, int64 [count], an image as often as it was drawn, to the drop over them.
        count: all images.
    """
    rng = np.random.default_rng(seed)
    times = max(RESAMPLED, ceil(_BEYOND / alpha))  # with fewer the bound of a small `alpha` is the largest draw
    drops = [drop(rng.integers(count, size=count)) for _ in range(times)]
    unseen = 1 - alpha ** (1 / count) if max(drops) <= max(0.0, min(drops)) else 0.0
    return float(np.quantile(drops, 1 - alpha)) + unseen

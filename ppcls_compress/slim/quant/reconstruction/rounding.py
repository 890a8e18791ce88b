"""Which level each weight is rounded to, learned from the moments of what the layer reads.

The squared error of a layer's output is tr(Q H Q') - 2 tr(Q T') and a constant for a rounded weight Q, given the
moments H = E[x x'] of the patches and T = E[y x'] of what should be given with them, so that a step costs a product of
matrices and no forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppcls_compress.slim.options.reconstruction import Reconstruction

_STRETCH, _SHIFT = 1.2, -0.1
_WARM_UP, _SHARP, _FLAT, _LAMBDA = 0.2, 20.0, 2.0, 0.1
_DECAY, _SQUARE_DECAY, _TINY = 0.9, 0.999, 1e-12
_SWEEPS, _AT_THE_END = 10, 1e-6
_ENDS = np.linspace(1.0, 0.3, 29)


@dataclass(frozen=True, eq=False)
class Problem:
    """A weight to be rounded, in float64.

    Attributes:
        weight: [groups, out, D].
        xx: mean products of what is read, [groups, D, D].
        yx: mean products of what should be given with what is read, [groups, out, D].
        levels: integers go from -levels to levels.
        shared: whether the whole weight has one grid.
    """

    weight: np.ndarray
    xx: np.ndarray
    yx: np.ndarray
    levels: int
    shared: bool = False

    def error(self, q: np.ndarray) -> float:
        """The squared error of a rounded weight, but for a constant."""
        return float(self.errors(q).sum())

    def errors(self, q: np.ndarray) -> np.ndarray:
        """The same for each output, [groups, out]."""
        return ((q @ self.xx) * q).sum(axis=2) - 2 * (q * self.yx).sum(axis=2)

    def damped(self, share: float) -> Problem:
        """With the float weight counted as well: so much of the mean power of what is read is added to each number.

        What few images say of many numbers is otherwise taken for more than it is.
        """
        depth = self.weight.shape[2]
        power = share * np.trace(self.xx, axis1=1, axis2=2)[:, None, None] / depth
        return Problem(
            self.weight,
            self.xx + power * np.eye(depth),
            self.yx + power * self.weight,
            self.levels,
            self.shared,
        )

    def widest(self) -> np.ndarray:
        """The ends of grids that clip nothing, [groups, out, 1]."""
        largest = np.abs(self.weight).max(axis=None if self.shared else 2, keepdims=True)
        return np.broadcast_to(largest, (*self.weight.shape[:2], 1))

    def best_ends(self) -> np.ndarray:
        """The ends of the grids with the least error where each weight goes to its nearest level, [groups, out, 1]."""
        widest = self.widest()
        best, least = widest, np.full(self.weight.shape[:2], np.inf)
        for part in _ENDS:
            found = self.errors(nearest(self.weight, part * widest, self.levels))
            found = np.full_like(found, found.sum()) if self.shared else found
            best = np.where((found < least)[:, :, None], part * widest, best)
            least = np.minimum(found, least)
        return best


def nearest(weight: np.ndarray, ends: np.ndarray, levels: int) -> np.ndarray:
    """The weight on its grid, each value on the nearest level; a row whose grid ends at 0 stays."""
    step = np.where(ends > 0, ends, 1.0) / levels
    return np.clip(np.rint(weight / step), -levels, levels) * step


def learned(problem: Problem, options: Reconstruction) -> np.ndarray:
    """The rounded weight, [groups, out, D]: up or down by AdaRound, then on by coordinate descent.

    What lies at the end of its grid stays there, so that the largest magnitudes of the result tell where grids end.
    """
    problem = problem.damped(options.damping)
    start = Start.of(problem)
    found = _adaround(problem, start, options)
    return _descended(problem, start, found if problem.error(found) < problem.error(start.nearest) else start.nearest)


@dataclass(frozen=True, eq=False)
class Start:
    """The grids, and what is known before anything is learned.

    Attributes:
        step: what an integer stands for, [groups, out, 1]; 1 / levels for a row of zeros.
        nearest: each weight on the nearest level, [groups, out, D].
        free: which weights may go elsewhere.
    """

    step: np.ndarray
    nearest: np.ndarray
    free: np.ndarray

    @staticmethod
    def of(problem: Problem) -> Start:
        """With the grids that are best for the nearest levels."""
        ends = problem.best_ends()
        step = np.where(ends > 0, ends, 1.0) / problem.levels
        free = np.abs(problem.weight) < ends * (1 - _AT_THE_END)
        return Start(step, nearest(problem.weight, ends, problem.levels), free)


def _adaround(problem: Problem, start: Start, options: Reconstruction) -> np.ndarray:
    """Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020, equations 21 to 24.

    q = step * (floor(w / step) + h), h = clip(1.2 sigmoid(v) - 0.1, 0, 1), is learned with a regularizer that drives h
    to 0 or 1. The error is told relative to that of rounding to the nearest, for each output.
    """
    levels = problem.levels
    size = np.abs(problem.errors(start.nearest) - problem.errors(problem.weight))[:, :, None] + _TINY
    exact = problem.weight / start.step, start.step, start.nearest, problem.xx, problem.yx, size
    # Single precision takes half the time, and nothing is lost: what comes out are integers.
    weight, step, near, xx, yx, size = (array.astype(np.float32) for array in exact)
    low = np.floor(weight)
    v = -np.log(_STRETCH / (np.clip(weight - low, 0.01, 0.99) - _SHIFT) - 1)
    first, second = np.zeros_like(v), np.zeros_like(v)
    for number in range(1, options.iterations + 1):
        sigmoid = 1 / (1 + np.exp(-v))
        h = np.clip(_STRETCH * sigmoid + _SHIFT, 0, 1)
        q = np.where(start.free, np.clip(low + h, -levels, levels) * step, near)
        slope = 2 * (q @ xx - yx) * step / size - _regularizer(h, number / options.iterations)
        slope *= (h > 0) * (h < 1) * _STRETCH * sigmoid * (1 - sigmoid)
        first = _DECAY * first + (1 - _DECAY) * slope
        second = _SQUARE_DECAY * second + (1 - _SQUARE_DECAY) * slope**2
        unbiased = np.sqrt(second / (1 - _SQUARE_DECAY**number)) + _TINY
        v -= options.lr * first / (1 - _DECAY**number) / unbiased
    up = _STRETCH / (1 + np.exp(-v)) + _SHIFT > 0.5
    return np.where(start.free, np.clip(low + up, -levels, levels) * start.step, start.nearest)


def _regularizer(h: np.ndarray, done: float) -> np.ndarray:
    """The slope of lambda * |2 h - 1|^beta; beta falls from 20 to 2 after the first fifth."""
    if done <= _WARM_UP:
        return np.zeros_like(h)
    beta = _FLAT + (_SHARP - _FLAT) * (1 - done) / (1 - _WARM_UP)
    return 2 * _LAMBDA * beta * np.abs(2 * h - 1) ** (beta - 1) * np.sign(2 * h - 1)


def _descended(problem: Problem, start: Start, q: np.ndarray) -> np.ndarray:
    """One weight of each output after the other on its best level, given the others, until none moves.

    Behdin et al., "QuantEase: Optimization-based Quantization for Language Models", 2023, section 3. Any level will do,
    not those beside the float weight alone: what a layer before has lost can ask for more than one step.
    """
    q, step, levels = q.copy(), start.step, problem.levels
    curvature = np.maximum(np.diagonal(problem.xx, axis1=1, axis2=2), _TINY)
    for _ in range(_SWEEPS):
        before, slope = q.copy(), q @ problem.xx - problem.yx
        for place in range(q.shape[2]):
            wanted = q[:, :, place] - slope[:, :, place] / curvature[:, None, place]
            level = np.clip(np.rint(wanted / step[:, :, 0]), -levels, levels)
            change = np.where(start.free[:, :, place], level * step[:, :, 0] - q[:, :, place], 0.0)
            q[:, :, place] += change
            slope += change[:, :, None] * problem.xx[:, None, place]
        q = np.where(start.free, np.rint(q / step) * step, q)
        if np.allclose(q, before, rtol=0, atol=step.min() / 2):
            break
    return q

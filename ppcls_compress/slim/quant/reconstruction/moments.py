"""What a layer's error depends on: the moments of the patches that it reads, and of what it should give.

A convolution is a product of its weight, [out, D] for each group, and the patches of its input, each of
D = in / groups x height x width numbers. The squared error of any weight is then known from the patches' second
moments alone, so that what is kept does not grow with the number of images.
"""

from __future__ import annotations

import numpy as np
import paddle
from paddle.nn import functional

from ppcls_compress.slim.quant import layers

_PATCH_BYTES = 64 * 2**20


def has_patches(layer: paddle.nn.Layer) -> bool:
    """Whether a layer is a product of its weight and patches of its input; a transposed convolution is none."""
    return isinstance(layer, paddle.nn.Conv2D | paddle.nn.Linear)


def rows(layer: paddle.nn.Layer, weight: np.ndarray) -> np.ndarray:
    """A weight as [groups, out / groups, D]."""
    if isinstance(layer, paddle.nn.Linear):
        return weight.T[None]
    return weight.reshape(layer._groups, weight.shape[0] // layer._groups, -1)


def from_rows(layer: paddle.nn.Layer, values: np.ndarray) -> np.ndarray:
    """The weight that `rows` gave, in its own shape."""
    return values[0].T if isinstance(layer, paddle.nn.Linear) else values.reshape(layer.weight.shape)


def patches(layer: paddle.nn.Layer, x: paddle.Tensor, places: np.ndarray | None = None) -> np.ndarray:
    """The patches of an input, [groups, D, samples].

    Args:
        layer: a convolution or linear layer.
        x: what it reads, [N, C, H, W], [N, H, W, C] or [..., features].
        places: which of an image's output positions are wanted; all if None. Linear layers take all.
    """
    if isinstance(layer, paddle.nn.Linear):
        return x.reshape([-1, x.shape[-1]]).numpy().T[None]
    if layer._data_format == "NHWC":
        x = x.transpose([0, 3, 1, 2])
    padding, mode = _padding(layer, x), layer._padding_mode
    top, left, bottom, right = padding
    x = functional.pad(x, [left, right, top, bottom], mode="constant" if mode == "zeros" else mode)
    dilation = 1 if layer._padding == "SAME" else layer._dilation
    size = layer.weight.shape[1] * layer._groups * layer.weight.shape[2] * layer.weight.shape[3]
    heights = [(x.shape[2 + side] - 1) // _two(layer._stride)[side] + 1 for side in (0, 1)]
    step = max(1, _PATCH_BYTES // (4 * size * heights[0] * heights[1]))
    found = []
    for start in range(0, x.shape[0], step):
        part = functional.unfold(x[start : start + step], layer.weight.shape[2:], layer._stride, 0, dilation).numpy()
        part = part if places is None else part[:, :, places]
        part = part.reshape(part.shape[0], layer._groups, -1, part.shape[-1])
        found.append(part.transpose(1, 2, 0, 3).reshape(layer._groups, part.shape[2], -1))
    return np.concatenate(found, axis=2)


def places(layer: paddle.nn.Layer, x: paddle.Tensor, count: int, rng: np.random.Generator) -> np.ndarray | None:
    """Which output positions of an input stand for all, drawn; None for all of them."""
    if isinstance(layer, paddle.nn.Linear):
        return None
    output = layer.compute(x[:1], layer.weight)
    total = output.size // output.shape[layers.channel_dimension(layer, output.ndim)]
    return None if total <= count else np.sort(rng.choice(total, count, replace=False))


def _padding(layer: paddle.nn.Layer, x: paddle.Tensor) -> tuple[int, int, int, int]:
    """Top, left, bottom, right."""
    given = layer._padding
    if isinstance(given, str):
        return (0, 0, 0, 0) if given.upper() == "VALID" else _same(layer, x)
    values = [item for part in np.array(given, dtype=object).reshape(-1) for item in np.atleast_1d(part).tolist()]
    if len(values) == 8:  # a pair for each dimension of [N, C, H, W]
        values = values[2:6] if layer._data_format == "NHWC" else values[4:]
    if len(values) == 4:
        top, bottom, left, right = values
        return top, left, bottom, right
    height, width = _two(values)
    return height, width, height, width


def _same(layer: paddle.nn.Layer, x: paddle.Tensor) -> tuple[int, int, int, int]:
    ends = []
    for size, stride, kernel in zip(x.shape[2:], _two(layer._stride), layer.weight.shape[2:], strict=True):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        ends.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = ends
    return top, left, bottom, right


def _two(value: object) -> tuple[int, int]:
    values = [int(item) for item in np.atleast_1d(value)]
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


class Moments:
    """Sums over the samples of a layer, in float64.

    Attributes:
        count: samples so far.
    """

    def __init__(self, groups: int, outputs: int, depth: int) -> None:
        self.count = 0
        self._x = np.zeros((groups, depth))
        self._y = np.zeros((groups, outputs))
        self._xx = np.zeros((groups, depth, depth))
        self._yx = np.zeros((groups, outputs, depth))
        self._yy = np.zeros((groups, outputs))

    def add(self, read: np.ndarray, wanted: np.ndarray) -> None:
        """Take in what the layer reads, [groups, D, samples], and what it should give, [groups, out, samples]."""
        self.count += read.shape[2]
        self._x += read.sum(axis=2, dtype=np.float64)
        self._y += wanted.sum(axis=2, dtype=np.float64)
        self._xx += read @ read.transpose(0, 2, 1)
        self._yx += wanted @ read.transpose(0, 2, 1)
        self._yy += np.square(wanted, dtype=np.float64).sum(axis=2)

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Of what is read, [groups, D], and of what should be given, [groups, out]."""
        return self._x / self.count, self._y / self.count

    def products(self, *, centred: bool) -> tuple[np.ndarray, np.ndarray]:
        """Mean products of what is read with itself, [groups, D, D], and of what should be given with it.

        Args:
            centred: around the means, as for a layer whose bias takes the mean error off.
        """
        xx, yx = self._xx / self.count, self._yx / self.count
        if centred:
            x, y = self.means()
            xx = xx - x[:, :, None] * x[:, None, :]
            yx = yx - y[:, :, None] * x[:, None, :]
        return xx, yx

    def power(self, *, centred: bool) -> float:
        """The mean square of what should be given, summed over the outputs; around the means if centred."""
        power = self._yy / self.count
        return float((power - self.means()[1] ** 2 if centred else power).sum())

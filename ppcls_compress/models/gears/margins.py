"""Heads that put a margin before the right class, in training; otherwise they give cosines.

Parameter names are PaddleClas', for its weights to load.
"""

from __future__ import annotations

import math

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from ppcls_compress.outputs import identities, unit


class _Cosines(nn.Layer):
    """The cosines between a feature and the `class_num` columns of `weight`."""

    def __init__(self, embedding_size: int, class_num: int) -> None:
        super().__init__()
        self.class_num = class_num
        self.weight = self.create_parameter(
            [embedding_size, class_num], default_initializer=nn.initializer.XavierNormal()
        )

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, embedding_size] -> [N, class_num]: cosines, or in training with labels what the margin makes of them."""
        cosines = unit(x) @ unit(self.weight, axis=0)
        if not self.training or labels is None:
            return cosines
        return self.with_margin(cosines, F.one_hot(identities(labels), self.class_num).astype(cosines.dtype))

    def with_margin(self, cosines: Tensor, right: Tensor) -> Tensor:
        """Logits [N, class_num] of cosines; `right` is 1 where the class is the right one, else 0."""
        raise NotImplementedError(f"{type(self).__name__} has no with_margin of its own")


class ArcMargin(_Cosines):
    """scale * cos(angle + margin) for the right class (Deng et al. 2019, equation 3), scale * cos(angle) for others.

    Where angle + margin passes 180 degrees, cos(angle) - margin * sin(margin) takes its place, so that the logit goes
    on falling; with `easy_margin`, the margin is left out beyond 90 degrees.
    """

    def __init__(self, embedding_size: int, class_num: int, margin: float, scale: float, easy_margin: bool) -> None:
        super().__init__(embedding_size, class_num)
        self.margin, self.scale, self.easy_margin = margin, scale, easy_margin

    def with_margin(self, cosines: Tensor, right: Tensor) -> Tensor:
        """As above."""
        sines = paddle.sqrt(1.0 - paddle.square(cosines) + 1e-6)
        moved = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
        limit = 0.0 if self.easy_margin else -math.cos(self.margin)
        beyond = cosines if self.easy_margin else cosines - self.margin * math.sin(self.margin)
        moved = paddle.where(cosines > limit, moved, beyond)
        return self.scale * (right * moved + (1.0 - right) * cosines)


class CosMargin(_Cosines):
    """scale * (cos(angle) - margin) for the right class, scale * cos(angle) for others (Wang et al. 2018, (4))."""

    def __init__(self, embedding_size: int, class_num: int, margin: float, scale: float) -> None:
        super().__init__(embedding_size, class_num)
        self.margin, self.scale = margin, scale

    def with_margin(self, cosines: Tensor, right: Tensor) -> Tensor:
        """As above."""
        return self.scale * (cosines - self.margin * right)


class CircleMargin(_Cosines):
    """Circle loss' logits (Sun et al. 2020, equations 6 and 9), with the optima 1 + m and -m and the margins 1 - m, m.

    scale * max(1 + m - s, 0) * (s - (1 - m)) for the cosine s of the right class, scale * max(s + m, 0) * (s - m) for
    others; the factors in max are constants for the gradient.
    """

    def __init__(self, embedding_size: int, class_num: int, margin: float, scale: float) -> None:
        super().__init__(embedding_size, class_num)
        self.margin, self.scale = margin, scale

    def with_margin(self, cosines: Tensor, right: Tensor) -> Tensor:
        """As above."""
        constant = cosines.detach()
        own = F.relu(1 + self.margin - constant) * (cosines - (1 - self.margin))
        other = F.relu(constant + self.margin) * (cosines - self.margin)
        return self.scale * (own * right + other * (1 - right))


class AdaMargin(nn.Layer):
    """AdaFace (Kim et al. 2022, equations 13 to 15): margins by the length of the feature.

    With q = clip(h * (length - mean) / (deviation + eps), -1, 1), the right class has the logit
    s * (cos(angle - m * q) - (m + m * q)). Mean and deviation of the lengths follow the batches by `t_alpha`. In
    evaluation the feature itself is given, as there is no margin to be put before anything.
    """

    _EPS = 1e-3

    def __init__(self, embedding_size: int, class_num: int, m: float, h: float, s: float, t_alpha: float) -> None:
        super().__init__()
        self.class_num, self.m, self.h, self.s, self.t_alpha = class_num, m, h, s, t_alpha
        start = unit(paddle.uniform([embedding_size, class_num], min=-1, max=1), axis=0)
        self.kernel = self.create_parameter(
            [embedding_size, class_num], default_initializer=nn.initializer.Assign(start)
        )
        self.register_buffer("t", paddle.zeros([1]))
        self.register_buffer("batch_mean", paddle.full([1], 20.0))
        self.register_buffer("batch_std", paddle.full([1], 100.0))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, embedding_size] -> [N, class_num] in training with labels, else `x`."""
        if not self.training or labels is None:
            return x
        lengths = paddle.norm(x.detach(), axis=1, keepdim=True)
        cosines = unit(x) @ unit(self.kernel, axis=0)
        cosines = cosines.clip(-1 + self._EPS, 1 - self._EPS)
        quality = self._quality(lengths.clip(0.001, 100))
        right = F.one_hot(identities(labels), self.class_num)
        angles = paddle.acos(cosines) - right * self.m * quality
        moved = paddle.cos(angles.clip(self._EPS, math.pi - self._EPS))
        return self.s * (moved - right * (self.m + self.m * quality))

    def _quality(self, lengths: Tensor) -> Tensor:
        """[N, 1] lengths -> [N, 1] in [-1, 1]; the mean and the deviation take the batch into account first."""
        with paddle.no_grad():
            deviation = lengths.std() if len(lengths) > 1 else self.batch_std
            for buffer, found in ((self.batch_mean, lengths.mean()), (self.batch_std, deviation)):
                buffer.set_value(self.t_alpha * found.reshape([1]) + (1 - self.t_alpha) * buffer)
            quality = self.h * (lengths - self.batch_mean) / (self.batch_std + self._EPS)
            return quality.clip(-1, 1)

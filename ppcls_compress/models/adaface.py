"""The residual networks of ArcFace (Deng et al. 2019, section 3.1) as AdaFace (Kim et al. 2022) trains them.

Sublayer names are PaddleClas', for its weights to load.
"""

from __future__ import annotations

import paddle
from paddle import Tensor, nn

from ppcls_compress.models.families.adaface import AdaFaceOptions

_UNITS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 14, 3),
    101: (3, 13, 30, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
_WIDTHS, _WIDE = (64, 128, 256, 512), (256, 512, 1024, 2048)
_EMBEDDING = 512
_BOTTLENECKS_FROM = 152


def _conv(inner: int, outer: int, kernel: int, stride: int = 1) -> nn.Conv2D:
    start = nn.initializer.KaimingNormal()
    return nn.Conv2D(inner, outer, kernel, stride, padding=kernel // 2, weight_attr=start, bias_attr=False)


class SqueezeExcite(nn.Layer):
    """A gate for each channel, from the means of all (Hu et al. 2018), with 1 x 1 convolutions without bias."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.fc1 = _conv(channels, channels // reduction, 1)
        self.relu = nn.ReLU()
        self.fc2 = _conv(channels // reduction, channels, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        return x * self.sigmoid(self.fc2(self.relu(self.fc1(self.avg_pool(x)))))


class Standardize(nn.BatchNorm1D):
    """A batch norm that learns no scale and no shift; Paddle's inference crashes on one that has none."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, weight_attr=False, bias_attr=False)
        self.register_buffer("_scale", paddle.ones([channels]), persistable=False)
        self.register_buffer("_shift", paddle.zeros([channels]), persistable=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C] -> the same shape."""
        return nn.functional.batch_norm(
            x,
            self._mean,
            self._variance,
            weight=self._scale,
            bias=self._shift,
            training=self.training,
            momentum=self._momentum,
            epsilon=self._epsilon,
        )


class Unit(nn.Layer):
    """Batch norms before and after each convolution, activated once or twice, and the input added."""

    def __init__(self, inner: int, outer: int, stride: int, *, bottleneck: bool, se: bool) -> None:
        super().__init__()
        if inner == outer:
            self.shortcut_layer = nn.MaxPool2D(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(_conv(inner, outer, 1, stride), nn.BatchNorm2D(outer))
        self.res_layer = nn.Sequential(nn.BatchNorm2D(inner), *self._convolutions(inner, outer, stride, bottleneck))
        if se:
            self.res_layer.add_sublayer("se_block", SqueezeExcite(outer))

    @staticmethod
    def _convolutions(inner: int, outer: int, stride: int, bottleneck: bool) -> list[nn.Layer]:
        norm, act = nn.BatchNorm2D, nn.PReLU
        if not bottleneck:
            first, second = _conv(inner, outer, 3), _conv(outer, outer, 3, stride)
            return [first, norm(outer), act(outer), second, norm(outer)]
        narrow = outer // 4
        first, second, third = _conv(inner, narrow, 1), _conv(narrow, narrow, 3), _conv(narrow, outer, 1, stride)
        return [first, norm(narrow), act(narrow), second, norm(narrow), act(narrow), third, norm(outer)]

    def forward(self, x: Tensor) -> Tensor:
        """[N, inner, H, W] -> [N, outer, H / stride, W / stride]."""
        return self.res_layer(x) + self.shortcut_layer(x)


class AdaFace(nn.Layer):
    """Features of faces; there is no classifier, and `class_num` is of no use.

    Args:
        depth: 18, 34, 50, 101, 152 or 200.
        se: squeeze-and-excitation in each unit.
        options: what a config says of it.
    """

    def __init__(self, depth: int, *, se: bool = False, options: AdaFaceOptions | None = None) -> None:
        super().__init__()
        options = options or AdaFaceOptions()
        wide = depth >= _BOTTLENECKS_FROM
        self.input_layer = nn.Sequential(_conv(3, 64, 3), nn.BatchNorm2D(64), nn.PReLU(64))
        units, inner = [], 64
        for outer, count in zip(_WIDE if wide else _WIDTHS, _UNITS[depth], strict=True):
            for index in range(count):
                units.append(Unit(inner, outer, 2 if index == 0 else 1, bottleneck=wide, se=se))
                inner = outer
        height, width = (side // 16 for side in options.input_size)
        start = nn.initializer.KaimingNormal()
        self.output_layer = nn.Sequential(
            nn.BatchNorm2D(inner),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(inner * height * width, _EMBEDDING, weight_attr=start),
            Standardize(_EMBEDDING),
        )
        self.body = nn.Sequential(*units)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images of `input_size` -> [N, 512] features."""
        return self.output_layer(self.body(self.input_layer(x)))

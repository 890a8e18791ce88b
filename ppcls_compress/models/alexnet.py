"""AlexNet (Krizhevsky 2014, "One weird trick")."""

from __future__ import annotations

from paddle import Tensor, nn

from ppcls_compress.models.families.base import ArchOptions
from ppcls_compress.models.layers import uniform

_SIDE, _WIDE = 6, 4096


def _conv(in_channels: int, out_channels: int, kernel: int, *, stride: int, padding: int) -> nn.Conv2D:
    attrs = {"weight_attr": uniform(in_channels * kernel**2), "bias_attr": uniform(in_channels * kernel**2)}
    return nn.Conv2D(in_channels, out_channels, kernel, stride=stride, padding=padding, **attrs)


def _pooled(conv: nn.Conv2D) -> nn.Sequential:
    return nn.Sequential(("_conv", conv), ("relu", nn.ReLU()), ("_pool", nn.MaxPool2D(3, stride=2)))


class AlexNet(nn.Layer):
    """AlexNet for images of 224 x 224.

    Args:
        options: what the config's `Arch` section says.
    """

    def __init__(self, *, options: ArchOptions | None = None) -> None:
        super().__init__()
        options = options or ArchOptions()
        self._conv1 = _pooled(_conv(3, 64, 11, stride=4, padding=2))
        self._conv2 = _pooled(_conv(64, 192, 5, stride=1, padding=2))
        self._conv3 = _conv(192, 384, 3, stride=1, padding=1)
        self._conv4 = _conv(384, 256, 3, stride=1, padding=1)
        self._conv5 = _pooled(_conv(256, 256, 3, stride=1, padding=1))
        self.relu = nn.ReLU()
        self.flatten = nn.Flatten()
        self.drop = nn.Dropout(0.5, mode="downscale_in_infer")
        features = 256 * _SIDE * _SIDE
        # All three start by the inputs of the first, as PaddleClas' do.
        attrs = {"weight_attr": uniform(features), "bias_attr": uniform(features)}
        self._fc6 = nn.Linear(features, _WIDE, **attrs)
        self._fc7 = nn.Linear(_WIDE, _WIDE, **attrs)
        self._fc8 = nn.Linear(_WIDE, options.class_num, **attrs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, 224, 224] images -> [N, class_num] logits."""
        x = self._conv2(self._conv1(x))
        x = self.relu(self._conv4(self.relu(self._conv3(x))))
        x = self.drop(self.flatten(self._conv5(x)))
        x = self.drop(self.relu(self._fc6(x)))
        return self._fc8(self.relu(self._fc7(x)))

"""Necks, and the one head that is a neck too. Sublayer names are PaddleClas', for its weights to load."""

from __future__ import annotations

from typing import Any

from paddle import ParamAttr, Tensor, nn

from ppcls_compress.outputs import unit


class FC(nn.Layer):
    """A linear layer; labels that a head is given are of no use to it."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        weight_attr: ParamAttr | bool | None = None,
        bias_attr: ParamAttr | bool | None = None,
    ) -> None:
        super().__init__()
        weight_attr = weight_attr or ParamAttr(initializer=nn.initializer.XavierNormal())
        self.fc = nn.Linear(in_features, out_features, weight_attr=weight_attr, bias_attr=bias_attr)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, in_features] -> [N, out_features]."""
        return self.fc(x)


class BNNeck(nn.Layer):
    """A batch norm of the flattened output of the backbone."""

    def __init__(
        self,
        num_features: int,
        weight_attr: ParamAttr | bool | None = None,
        bias_attr: ParamAttr | bool | None = None,
        use_global_stats: bool | None = None,
    ) -> None:
        super().__init__()
        self.feat_bn = nn.BatchNorm1D(
            num_features, weight_attr=weight_attr, bias_attr=bias_attr, use_global_stats=use_global_stats
        )
        self.flatten = nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        """[N, C] or [N, C, 1, 1] -> [N, C]."""
        return self.feat_bn(self.flatten(x))


class VehicleNeck(nn.Layer):
    """A convolution, flattened; `settings` are those of `paddle.nn.Conv2D`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2D(**settings)
        self.flatten = nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out * H' * W']."""
        return self.flatten(self.conv(x))


class FRFNNeck(nn.Layer):
    """Linear layer, leaky ReLU, linear layer, length of one."""

    def __init__(self, num_features: int, low_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(num_features, num_features)
        self.relu_mlp = nn.LeakyReLU(0.1)
        self.fc2 = nn.Linear(num_features, low_dim)

    def forward(self, x: Tensor) -> Tensor:
        """[N, num_features] -> [N, low_dim], each of length one."""
        return unit(self.fc2(self.relu_mlp(self.fc1(x))))

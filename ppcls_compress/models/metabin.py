"""ResNet50 with normalization over batches and over images, mixed by gates (MetaBIN, Choi et al. 2021, equation 1).

Sublayer names are PaddleClas', for its weights to load.
"""

from __future__ import annotations

import paddle
from paddle import Tensor, nn

from ppcls_compress.models.families.resnet import MetaBINOptions
from ppcls_compress.models.resnet import ResNet


class Gate(nn.Layer):
    """A number from 0 to 1 for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = self.create_parameter([channels], default_initializer=nn.initializer.Constant(1.0))

    def forward(self) -> Tensor:
        """[1, C, 1, 1]."""
        return self.gate.reshape([1, -1, 1, 1])


class MetaBIN(nn.Layer):
    """gate * batch norm + (1 - gate) * instance norm."""

    def __init__(self, norm: nn.BatchNorm2D) -> None:
        super().__init__()
        channels = norm.weight.shape[0]
        self.batch_norm = norm
        self.instance_norm = nn.InstanceNorm2D(channels)
        self.gate = Gate(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        gate = self.gate()
        return self.batch_norm(x) * gate + self.instance_norm(x) * (1 - gate)


def resnet(*, depth: int, options: MetaBINOptions) -> ResNet:
    """ResNet with `MetaBIN` in place of each batch norm.

    Args:
        depth: 50.
        options: what the config's `Arch` section says.
    """
    network = ResNet(depth, options=options)
    for path, layer in list(network.named_sublayers()):
        if isinstance(layer, nn.BatchNorm2D):
            parent, _, name = path.rpartition(".")
            owner: nn.Layer = dict(network.named_sublayers(include_self=True))[parent]
            owner.add_sublayer(name, MetaBIN(layer))
    with paddle.no_grad():
        for name, parameter in network.named_parameters():
            if "bias" in name:
                parameter.optimize_attr["learning_rate"] = options.bias_lr_factor
            elif "gate" in name:
                parameter.optimize_attr["learning_rate"] = options.gate_lr_factor
    return network

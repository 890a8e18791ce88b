"""VGG (Simonyan and Zisserman 2015): blocks of 3 x 3 convolutions, three large linear layers."""

from __future__ import annotations

from paddle import Tensor, nn

from ppcls_compress.models.families.vgg import VGGOptions
from ppcls_compress.models.layers import Suffixed

_CHANNELS = (64, 128, 256, 512, 512)
_CONVS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_SIDE, _WIDE = 7, 4096


def _block(in_channels: int, out_channels: int, convs: int) -> nn.Sequential:
    layers = []
    for index in range(1, convs + 1):
        conv = nn.Conv2D(in_channels, out_channels, 3, padding=1, bias_attr=False)
        layers += [(f"conv{index}", conv), (f"relu{index}", nn.ReLU())]
        in_channels = out_channels
    return nn.Sequential(*layers, ("max_pool", nn.MaxPool2D(2, stride=2)))


class VGG(nn.Layer):
    """VGG for images of 224 x 224.

    Args:
        depth: 11, 13, 16 or 19.
        sigmoid: end with a sigmoid, for codes of bits.
        options: what the config's `Arch` section says.
    """

    def __init__(self, depth: int, *, sigmoid: bool = False, options: VGGOptions | None = None) -> None:
        super().__init__()
        options = options or VGGOptions()
        channels = 3
        self.blocks = []
        for index, (out, convs) in enumerate(zip(_CHANNELS, _CONVS[depth], strict=True), start=1):
            block = self.add_sublayer(f"conv_block_{index}", _block(channels, out, convs))
            for parameter in block.parameters() if index <= options.stop_grad_layers else ():
                parameter.stop_gradient = True
            self.blocks.append(f"conv_block_{index}")
            channels = out
        self.flatten = nn.Flatten()
        self.relu = nn.ReLU()
        self.drop = nn.Dropout(0.5, mode="downscale_in_infer")
        self.fc1 = nn.Linear(_SIDE * _SIDE * channels, _WIDE)
        self.fc2 = nn.Linear(_WIDE, _WIDE)
        self.fc3 = nn.Linear(_WIDE, options.class_num)
        if sigmoid:
            self.fc3 = Suffixed(self.fc3, nn.Sigmoid())
            self.unused_weights, self.fresh_weights = ("fc3.weight", "fc3.bias"), ("fc3.*",)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, 224, 224] images -> [N, class_num] logits."""
        for name in self.blocks:
            x = getattr(self, name)(x)
        x = self.drop(self.relu(self.fc1(self.flatten(x))))
        return self.fc3(self.drop(self.relu(self.fc2(x))))

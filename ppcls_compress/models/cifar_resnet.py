"""ResNet for CIFAR (He et al. 2016, section 4.2): 6n + 2 layers, widths 16, 32, 64, shortcuts without parameters."""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn import functional as F

from ppcls_compress.models.families.cifar_resnet import CIFARResNetOptions
from ppcls_compress.models.layers import ConvNormAct
from ppcls_compress.models.residual import ResidualBlock
from ppcls_compress.models.resnet import branch

_WIDTHS = (16, 32, 64)


class PadShortcut(nn.Layer):
    """The paper's option A: every `stride`-th position, and channels of zeros for those that are missing.

    Attributes:
        pad_before: channels of zeros put before the input's.
        pad_after: channels of zeros put after the input's. Pruning changes both numbers.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.pad_before = 0
        self.pad_after = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, pad_before + C + pad_after, H / stride, W / stride]."""
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, [0, 0, self.pad_before, self.pad_after, 0, 0, 0, 0])


class CIFARResNet(nn.Layer):
    """ResNet for 32 x 32 images.

    Args:
        depth: 6n + 2 for n blocks in each of the three stages.
        options: what the config's `Arch` section says.
    """

    def __init__(self, depth: int, *, options: CIFARResNetOptions | None = None) -> None:
        super().__init__()
        options = options or CIFARResNetOptions()
        self.stem = ConvNormAct(options.input_image_channel, _WIDTHS[0], 3)
        blocks, channels = [], _WIDTHS[0]
        for width in _WIDTHS:
            for _ in range((depth - 2) // 6):
                stride = 1 if width == channels else 2
                short = nn.Identity() if stride == 1 else PadShortcut(channels, width, stride)
                blocks.append(ResidualBlock(branch(channels, [(3, width, stride), (3, width, 1)]), short))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, options.class_num)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] images -> [N, class_num] logits."""
        return self.fc(self.flatten(self.avg_pool(self.blocks(self.stem(x)))))

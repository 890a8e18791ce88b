"""WideResNet (Zagoruyko and Komodakis 2016) for 32 x 32 images, as in FixMatch (Sohn et al. 2020)."""

from __future__ import annotations

from paddle import Tensor, nn

from ppcls_compress.models.families.wide_resnet import WideResNetOptions

_STEM, _WIDTHS = 16, (16, 32, 64)


def _norm(channels: int) -> nn.BatchNorm2D:
    return nn.BatchNorm2D(channels, momentum=0.999)


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2D:
    return nn.Conv2D(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias_attr=False)


class WideBlock(nn.Layer):
    """Batch norm, activation and 3 x 3 convolution, twice; the input, or a projection of it, is added.

    Where the number of channels changes, FixMatch's network activates the input of both ways with `activate`, and of
    neither without.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float, *, activate: bool) -> None:
        super().__init__()
        self.projects, self.activate = in_channels != out_channels, activate
        self.bn1 = _norm(in_channels)
        self.relu1 = nn.LeakyReLU(0.1)
        self.conv1 = _conv(in_channels, out_channels, 3, stride)
        self.bn2 = _norm(out_channels)
        self.relu2 = nn.LeakyReLU(0.1)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = _conv(out_channels, out_channels, 3)
        self.convShortcut = _conv(in_channels, out_channels, 1, stride) if self.projects else nn.Identity()
        if self.projects and not activate:
            self.bn1.weight.stop_gradient = self.bn1.bias.stop_gradient = True  # published weights have them

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        y = x
        if self.activate or not self.projects:
            y = self.relu1(self.bn1(x))
        short = y if self.projects else x
        y = self.relu2(self.bn2(self.conv1(y)))
        return self.convShortcut(short) + self.conv2(self.dropout(y))


class Blocks(nn.Layer):
    """One stage."""

    def __init__(
        self, count: int, in_channels: int, out_channels: int, stride: int, dropout: float, *, activate: bool
    ) -> None:
        super().__init__()
        blocks = []
        for index in range(count):
            own = stride if index == 0 else 1
            blocks.append(WideBlock(in_channels, out_channels, own, dropout, activate=activate))
            in_channels = out_channels
        self.layer = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H / stride, W / stride]."""
        return self.layer(x)


class WideResNet(nn.Layer):
    """WideResNet.

    Args:
        options: what the config's `Arch` section says.
    """

    def __init__(self, *, options: WideResNetOptions | None = None) -> None:
        super().__init__()
        options = options or WideResNetOptions()
        count, channels = (options.depth - 4) // 6, _STEM
        self.conv1 = _conv(3, channels, 3)
        for stage, width in enumerate(_WIDTHS, start=1):
            out, first = width * options.widen_factor, stage == 1
            blocks = Blocks(count, channels, out, 1 if first else 2, options.dropout, activate=first)
            self.add_sublayer(f"block{stage}", blocks)
            channels = out
        self.bn1 = _norm(channels)
        self.relu = nn.LeakyReLU(0.1)
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, options.class_num)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, class_num] logits."""
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(self.flatten(self.avg_pool(self.relu(self.bn1(x)))))

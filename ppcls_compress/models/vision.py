"""The networks that Paddle itself ships, `paddle.vision.models`, under their own names."""

from __future__ import annotations

import sys

import paddle.vision.models as zoo
from paddle import Tensor, nn

from ppcls_compress.models.families.base import ArchOptions

_WEIGHT_NAMES = {
    "mobilenet_v1": "mobilenetv1_1.0",
    "mobilenet_v2": "mobilenetv2_1.0",
    "mobilenet_v3_small": "mobilenet_v3_small_x1.0",
    "mobilenet_v3_large": "mobilenet_v3_large_x1.0",
}


class GoogLeNet(zoo.GoogLeNet):
    """Paddle's GoogLeNet without its two auxiliary classifiers, so that it gives logits like every other network."""

    unused_weights = ("_conv_o1.*", "_fc_o1.*", "_out1.*", "_conv_o2.*", "_fc_o2.*", "_out2.*")
    """Names that published weights have and this network does not."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes=num_classes)
        for pattern in self.unused_weights:
            setattr(self, pattern.removesuffix(".*"), nn.Identity())

    def forward(self, inputs: Tensor) -> Tensor:
        """[N, 3, H, W] images -> [N, num_classes] logits."""
        return super().forward(inputs)[0]


def create(name: str, *, options: ArchOptions) -> nn.Layer:
    """The network `name`, freshly initialised; `class_num` is what Paddle calls `num_classes`."""
    if name == "googlenet":
        return GoogLeNet(options.class_num)
    own = options.model_dump(exclude=set(ArchOptions.model_fields))
    return getattr(zoo, name)(num_classes=options.class_num, **own)


def published(name: str) -> tuple[str | None, tuple[str, str] | None]:
    """URL and checksum, as `download.fetch` takes it, of the ImageNet weights that Paddle knows for `name`."""
    module = sys.modules[getattr(zoo, name).__module__]
    urls = getattr(module, "model_urls", {})  # LeNet has none
    url, md5 = urls.get(_WEIGHT_NAMES.get(name, name), (None, None))
    return url, md5 and ("md5", md5)

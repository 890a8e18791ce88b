"""DenseNet."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, Count, Probability, published


class DenseNetOptions(ArchOptions):
    """DenseNet.

    Attributes:
        bn_size: width of a layer's 1 x 1 convolution, in multiples of the channels that the layer adds.
        dropout: on what a layer adds.
    """

    bn_size: Count = 4
    dropout: Probability = 0.0


def _arch(depth: int) -> Arch:
    name = f"DenseNet{depth}"
    return Arch(name, "densenet", "DenseNet", DenseNetOptions, {"depth": depth}, published(name, folder=""))


ARCHS = tuple(_arch(depth) for depth in (121, 161, 169, 201, 264))

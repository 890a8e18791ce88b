"""ESNet."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, Count, Probability, published, width


class ESNetOptions(ArchOptions):
    """ESNet.

    Attributes:
        class_expand: features before the classifier.
        dropout_prob: dropout before the classifier.
    """

    class_expand: Count = 1280
    dropout_prob: Probability = 0.2


def _arch(scale: float) -> Arch:
    name = f"ESNet_{width(scale)}"
    return Arch(name, "esnet", "ESNet", ESNetOptions, {"scale": scale}, published(name))


ARCHS = tuple(_arch(scale) for scale in (0.25, 0.5, 0.75, 1.0))

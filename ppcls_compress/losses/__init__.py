"""Training losses, one small file each.

A new loss: a file here with an options class that builds it, decorated with `@LOSSES.declare`, and its line in the
first import here.
"""

from __future__ import annotations

from ppcls_compress.losses import (  # noqa: F401  they declare
    attention,
    center,
    contrastive,
    cross_entropy,
    distilled_features,
    distilled_logits,
    domains,
    hashing,
    multilabel,
    triplet,
)
from ppcls_compress.losses.base import LOSSES, Loss, LossFunction, LossValue, TotalLoss, build_loss

__all__ = ["LOSSES", "Loss", "LossFunction", "LossValue", "TotalLoss", "build_loss"]

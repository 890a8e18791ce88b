"""AlexNet."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, published

ARCHS = (Arch("AlexNet", "alexnet", "AlexNet", url=published("AlexNet", folder="")),)

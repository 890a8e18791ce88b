"""HRNet for classification."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, published

_WIDTHS = (18, 30, 32, 40, 44, 48, 60, 64)


def _arch(width: int, *, se: bool) -> Arch:
    name = f"{'SE_' if se else ''}HRNet_W{width}_C"
    # With gates, the distilled weights of the widest only are published.
    known = width != 60 if not se else width == 64
    url = published(f"{name}_ssld" if se else name) if known else None
    return Arch(name, "hrnet", "HRNet", ArchOptions, {"width": width, "se": se}, url)


ARCHS = tuple(_arch(width, se=se) for se in (False, True) for width in _WIDTHS)

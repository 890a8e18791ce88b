"""SqueezeNet."""

from __future__ import annotations

from ppcls_compress.models.families.base import Arch, ArchOptions, published


def _arch(version: str) -> Arch:
    name = f"SqueezeNet{version}"
    return Arch(name, "squeezenet", "SqueezeNet", ArchOptions, {"version": version}, published(name, folder=""))


ARCHS = (_arch("1_0"), _arch("1_1"))

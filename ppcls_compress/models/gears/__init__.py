"""Necks and heads of recognition models, under PaddleClas' names; importing this does not import Paddle.

A new one: options in `necks.py` or `heads.py`, decorated with `@NECKS.declare` or `@HEADS.declare`, and the layer that
they build in the file of its kind.
"""

from ppcls_compress.models.gears import heads, necks  # noqa: F401  they declare
from ppcls_compress.models.gears.base import HEADS, NECKS, Head, Neck

__all__ = ["HEADS", "NECKS", "Head", "Neck"]

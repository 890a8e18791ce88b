"""How a named thing declares itself: a frozen options class in a registry, from which a configuration reads it.

A thing that a YAML names (a transform, a loss, an optimizer) is one class: its fields are the options, its method does
or builds the thing, and the registry it stands in gives every list of names. All of this imports without Paddle, so
that a configuration is checked before anything heavy is loaded.

Example:
    >>> @LOSSES.declare
    ... class HingeLoss(LossOptions):
    ...     margin: Positive = 1.0
    ...     def build(self): ...
"""

from ppcls_compress.declare.entries import Declarations, listed, named
from ppcls_compress.declare.options import (
    LARGEST,
    Count,
    Fraction,
    NonNegative,
    Number,
    Options,
    Positive,
    PositiveInt,
    at_key,
    refuse_unknown_keys,
)

__all__ = [
    "LARGEST",
    "Count",
    "Declarations",
    "Fraction",
    "NonNegative",
    "Number",
    "Options",
    "Positive",
    "PositiveInt",
    "at_key",
    "listed",
    "named",
    "refuse_unknown_keys",
]

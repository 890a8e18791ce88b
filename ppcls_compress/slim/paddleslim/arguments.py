"""What callers of the filter pruners may ask for; everything else is refused before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from paddle import nn

from ppcls_compress.errors import UserError, unknown

_APPLY = ("impretive", "imperative", "lazy", None)


def check_apply(apply: str | None) -> None:
    """Whether a plan can be applied in this way.

    Raises:
        UserError: it is none of them.
    """
    if apply not in _APPLY:
        raise UserError(f"apply: {unknown('way', apply, [str(way) for way in _APPLY])}")


def check_ratio(ratio: float) -> None:
    """Whether a share of the filters can be removed.

    Raises:
        UserError: it is not a number in [0, 1).
    """
    if isinstance(ratio, bool) or not isinstance(ratio, int | float | np.number) or not 0 <= ratio < 1:
        raise UserError(f"pruned_ratio must be in [0, 1), found {ratio!r}")


def check_axis(axis: int, parameters: Sequence[str], ranks: Sequence[int]) -> None:
    """Whether one of the parameters has such an axis; a glob may mean others beside it.

    Raises:
        UserError: it is no number, or none has.
    """
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
        raise UserError(f"axis: expected 0 for filters or 1 for the outputs of linear layers, found {axis!r}")
    if parameters and not 0 <= axis < max(ranks):
        raise UserError(f"axis: {parameters[0]} has {ranks[0]} axes, from 0 to {ranks[0] - 1}, found {axis}")


def check_filters(parameters: Sequence[str], layers: Sequence[nn.Layer]) -> None:
    """Whether one of the parameters belongs to a layer with filters; callers may name all that a network has.

    Raises:
        UserError: all belong to layers such as batch norms, which follow the layers around them.
    """
    if parameters and not any(_has_filters(layer) for layer in layers):
        kind = type(layers[0]).__name__
        raise UserError(
            f"{parameters[0]}: a {kind} has no filters of its own; name the convolution whose output it reads"
        )


def _has_filters(layer: nn.Layer) -> bool:
    return any(len(parameter.shape) > 1 for parameter in layer.parameters(include_sublayers=False))

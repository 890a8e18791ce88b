"""Branches that are trained apart and deployed as the convolution that they add up to (Ding et al. 2021, "RepVGG").

A layer takes part by having `re_parameterize()`, which merges its branches in place, and `is_repped`, which says
whether that was done; the names are PaddleClas'. Quantization merges before it puts quantizers in; export merges a
copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import paddle

from ppcls_compress.errors import UserError, unknown
from ppcls_compress.slim.copying import copied


def merge(model: paddle.nn.Layer) -> list[str]:
    """Merge every layer whose branches are apart, in place; their running statistics count, as in evaluation.

    Returns:
        The names of these layers.
    """
    names = apart(model)
    merge_named(model, names)
    return names


def merge_named(model: paddle.nn.Layer, names: Sequence[str]) -> None:
    """Merge the layers of these names, in place.

    Raises:
        UserError: there is no layer of a name, or it has no branches.
    """
    found = dict(model.named_sublayers(include_self=True))
    for name in names:
        if name not in found:
            raise UserError(f"{unknown('layer', name, found)}; there are no branches to merge")
        if not hasattr(found[name], "re_parameterize"):
            raise UserError(f"{name} is a {type(found[name]).__name__}, which has no branches to merge")
        found[name].re_parameterize()


def merged_copy(model: paddle.nn.Layer, record: Mapping[str, Any]) -> tuple[paddle.nn.Layer, dict[str, Any]]:
    """The model as it is deployed, and its record: a copy with a step `fold`, where branches are apart, or the same."""
    names = apart(model)
    if not names:
        return model, dict(record)
    model = copied(model)
    merge_named(model, names)
    step = {"kind": "fold", "version": 1, "merged": names, "folded": [], "biased": []}
    return model, {**record, "steps": [*record["steps"], step]}


def apart(model: paddle.nn.Layer) -> list[str]:
    """The names of the layers whose branches are not merged."""
    layers = model.named_sublayers(include_self=True)
    return [name for name, layer in layers if hasattr(layer, "re_parameterize") and not layer.is_repped]

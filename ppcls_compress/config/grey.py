"""Grey images: `Global.image_shape: [1, H, W]` is enough, every list of transforms then decodes to one channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LISTS = (
    ("DataLoader", "Train", "dataset", "transform_ops"),
    ("DataLoader", "Eval", "dataset", "transform_ops"),
    ("DataLoader", "Eval", "Query", "dataset", "transform_ops"),
    ("DataLoader", "Eval", "Gallery", "dataset", "transform_ops"),
    ("Infer", "transforms"),
)
_NAME = "DecodeImage"


def decode_grey(data: Any) -> Any:
    """What a YAML says, with `DecodeImage.channels: 1` written out where its images are grey and it does not say so.

    Anything that is not as it should be is left as it is, for the schema to refuse.
    """
    shape = _inside(data, "Global", "image_shape") or [_inside(data, "Global", "image_channel")]
    if not isinstance(shape, list | tuple) or not shape or shape[0] != 1:
        return data
    for path in _LISTS:
        data = _changed(data, path)
    return data


def _inside(node: Any, *path: str) -> Any:
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def _changed(node: Any, path: tuple[str, ...]) -> Any:
    """A copy of `node` in which the list at `path` decodes to one channel."""
    if not path:
        return [_grey(node[0]), *node[1:]] if isinstance(node, list | tuple) and node else node
    if not isinstance(node, Mapping) or path[0] not in node:
        return node
    return {**node, path[0]: _changed(node[path[0]], path[1:])}


def _grey(entry: Any) -> Any:
    if entry == _NAME:
        return {_NAME: {"channels": 1}}
    if isinstance(entry, Mapping) and list(entry) == [_NAME] and isinstance(entry[_NAME], Mapping | None):
        return {_NAME: {"channels": 1, **(entry[_NAME] or {})}}
    return entry

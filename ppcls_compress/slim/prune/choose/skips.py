"""Rules of `skip`: which layers they name, and which groups of channels they hold."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

import numpy as np
from paddle import nn

from ppcls_compress.errors import ConfigError, unknown
from ppcls_compress.slim.prune.trace.channels import Channels
from ppcls_compress.slim.prune.trace.context import Tracing


def skipped(model: nn.Layer, rules: tuple[str, ...], tracing: Tracing) -> dict[str, str]:
    """Path of each layer that a rule names -> the rule.

    Raises:
        ConfigError: a rule matches no layer, or only layers without channels of their own, such as activations.
    """
    found: dict[str, str] = {}
    owners = {path for place in tracing.bindings for owner in _owners(tracing, *place) for path in _around(owner)}
    for pattern in rules:
        hits = [
            path
            for path, layer in model.named_sublayers(include_self=True)
            if fnmatchcase(path, pattern) or type(layer).__name__ == pattern
        ]
        if not hits:
            names = [path for path, _ in model.named_sublayers()]
            raise ConfigError(f"skip: {unknown('layer name, glob or type', pattern, names)}")
        if owners.isdisjoint(hits):
            raise ConfigError(
                f"skip: {pattern!r} holds nothing: {hits[0]!r} has no channels of its own; name one with weights"
            )
        found.update({path: found.get(path, pattern) for path in hits})
    return found


def rules_of(channels: Channels, skips: dict[str, str]) -> list[str | None]:
    """Per group the rule by which it stays, because the rule names a layer that gives the group's channels.

    A layer around one counts too; one that only reads the channels does not: its own output stays whole all the same.
    """
    found: list[str | None] = [None] * len(channels.groups)
    group_of = np.full(len(channels.root), -1)
    for index, group in enumerate(channels.groups):
        group_of[group.roots] = index
    for place, labels in channels.tracing.bindings.items():
        paths = (path for owner in _owners(channels.tracing, *place) for path in _around(owner))
        rule = next((skips[path] for path in paths if path in skips), None)
        if rule is not None:
            for index in np.unique(group_of[channels.root[labels]]).tolist():
                if index >= 0:
                    found[index] = found[index] or rule
    return found


def _owners(tracing: Tracing, name: str, axis: int) -> list[str]:
    """The layers whose output lies along this axis of a parameter; none for a weight's input axis."""
    origin = tracing.origins.get(name)
    if origin is None:
        return [name.rpartition(".")[0]]
    return [origin.owner, name.rpartition(".")[0]] if axis == origin.axis else []


def _around(path: str) -> Iterator[str]:
    """A layer and the layers around it, out to the network."""
    yield path
    while path:
        path = path.rpartition(".")[0]
        yield path

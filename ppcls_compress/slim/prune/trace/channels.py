"""From labels to units of pruning: classes of united labels, and groups of classes that are interchangeable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ppcls_compress.slim.prune.trace.classes import settle
from ppcls_compress.slim.prune.trace.context import GroupedConv, Origin, Size, Tracing
from ppcls_compress.slim.prune.trace.doubts import doubts
from ppcls_compress.slim.prune.trace.equations import Terms
from ppcls_compress.slim.prune.trace.labels import Labels, Pin
from ppcls_compress.slim.prune.trace.number import Guard


@dataclass(frozen=True)
class Member:
    """One layer of a group.

    Attributes:
        units: the unit (0 .. len(group) - 1) that each output channel belongs to, -1 for another group's.
    """

    origin: Origin
    units: Labels


@dataclass(frozen=True)
class Group:
    """Units (classes of united channels) that touch the same parameter axes equally often; ratios are per group.

    Attributes:
        roots: the representative label of each unit, in the order of the first layer's channels.
        members: the layers whose output channels these are, those of the kinds asked for first, in the order in which
            the network registers them.
    """

    roots: Labels
    members: tuple[Member, ...]

    def __len__(self) -> int:
        return len(self.roots)

    @property
    def name(self) -> str:
        """The first layer's weight."""
        return self.members[0].origin.weight


@dataclass
class Channels:
    """A solved tracing.

    Attributes:
        root: label -> representative label of its class.
        pinned: label of a class that stays -> why.
        sizes: the tracing's, with the group counts of grouped convolutions.
        terms: what the sizes and attributes count that the network computes its numbers from.
        guards: comparisons in the network's own code that may come out differently when channels are removed.
        doubtful: representatives of the classes whose number the network's own code looks at; see `doubts`.
    """

    tracing: Tracing
    root: Labels
    pinned: dict[int, Pin]
    sizes: list[Size]
    terms: Terms
    guards: list[Guard]
    doubtful: Labels
    groups: list[Group] = field(default_factory=list)

    def mask(self, removed: Iterable[Labels]) -> np.ndarray:
        """label -> kept, when the classes of these representatives go."""
        dead = np.zeros(len(self.root), dtype=bool)
        for roots in removed:
            dead[roots] = True
        return ~dead[self.root]


def solve(
    tracing: Tracing,
    *,
    pins: Sequence[tuple[Labels, Pin]] = (),
    kinds: frozenset[str] = frozenset({"conv"}),
    grouped: str = "auto",
) -> Channels:
    """Classes, pins and groups.

    Args:
        pins: further labels that have to stay, and why.
        kinds: which layers' output channels may be removed, `conv`, `fc`.
        grouped: grouped convolutions lose whole groups (`reduce`, unless nothing could be removed so), the same
            positions of every group (`keep`), or whichever leaves the finer choice (`auto`).
    """
    reduce = {g.op.index: grouped == "reduce" or _is_fine(g) for g in tracing.grouped}
    if grouped == "keep":
        reduce = dict.fromkeys(reduce, False)
    options = [reduce]
    if grouped == "auto" and reduce:
        options += [dict.fromkeys(reduce, True), dict.fromkeys(reduce, False)]
    solved = [_classes(tracing, pins, option) for option in options]
    best = max(solved, key=lambda channels: _free_units(channels, kinds))
    best.groups = _groups(best, kinds)
    if grouped == "reduce" and reduce and all(len(group) == 1 for group in best.groups):
        return solve(tracing, pins=pins, kinds=kinds)
    return best


def _classes(tracing: Tracing, pins: Sequence[tuple[Labels, Pin]], reduce: dict[int, bool]) -> Channels:
    pairs, pins, sizes = list(tracing.book.pairs), [*tracing.book.pins, *pins], list(tracing.sizes)
    for conv in tracing.grouped:
        more_pairs, more_pins, size = _grouped(conv, reduce[conv.op.index])
        pairs.extend(more_pairs)
        pins.extend(more_pins)
        sizes.extend(size)
    solved = settle(tracing, sizes, pairs, pins)
    return Channels(tracing, solved.root, solved.pinned, sizes, solved.terms, *doubts(tracing, solved))


def _is_fine(conv: GroupedConv) -> bool:
    """Whether there are at least as many groups to choose from as channels in one."""
    return conv.wide is None or conv.groups >= len(conv.wide) // conv.groups


def _grouped(conv: GroupedConv, reduce: bool) -> tuple[list, list, list[Size]]:
    """Equalities, pins and sizes of a grouped convolution under one of the two ways to prune it."""
    stays = Pin(conv.op.name, "a grouped convolution of channels that stay")
    sides = [side for side in (conv.wide, conv.narrow) if side is not None]
    if len(sides) < 2:
        return [], [(side, stays) for side in (*sides, conv.weight_narrow)], []
    wide, narrow = conv.wide.reshape(conv.groups, -1), conv.narrow.reshape(conv.groups, -1)
    pairs: list[tuple[Labels, Labels]] = []
    pins = [(side, stays) for side in sides] if any((side == 0).any() for side in sides) else []
    if reduce:
        pairs += [(side[:, :1].repeat(side.shape[1], 1), side) for side in (wide, narrow)]
        pairs.append((narrow[:, 0], wide[:, 0]))
        pins.append((conv.weight_narrow, Pin(conv.op.name, "whole groups are removed")))
        return pairs, pins, [Size(conv.op, ("groups", None), conv.groups, narrow[:, 0])]
    pairs += [
        (np.broadcast_to(wide[0], wide.shape), wide),
        (np.broadcast_to(conv.weight_narrow, narrow.shape), narrow),
    ]
    return pairs, pins, []


def _prunable(channels: Channels, kinds: frozenset[str]) -> np.ndarray:
    """representative label -> may be removed: it is some layer's output channel and nothing pins it."""
    allowed = np.zeros(len(channels.root), dtype=bool)
    for origin in channels.tracing.origins.values():
        if origin.kind in kinds:
            allowed[channels.root[origin.labels]] = True
    allowed[list(channels.pinned)] = False
    return allowed


def _free_units(channels: Channels, kinds: frozenset[str]) -> int:
    return int(_prunable(channels, kinds).sum())


def _groups(channels: Channels, kinds: frozenset[str]) -> list[Group]:
    """Classes are interchangeable when they touch the same parameter axes and parts of axes, equally often."""
    rows, origins = _rows(channels)
    families: dict[bytes, list[Labels]] = {}
    touched: dict[bytes, Labels] = {}
    for family, touches in _runs(rows, _prunable(channels, kinds)):
        families.setdefault(touches.tobytes(), []).append(family)
        touched.setdefault(touches.tobytes(), touches[:, 0])
    rank = {name: position for position, name in enumerate(channels.tracing.graph.tensors)}
    unit = np.full(len(channels.root), -1)
    groups = []
    for key, family in families.items():
        members = [origin for row in touched[key].tolist() for origin in origins[row]]
        members.sort(key=lambda origin: (origin.kind not in kinds, rank[origin.weight]))
        groups.append(_group(channels, np.concatenate(family), members, unit))
    return sorted(groups, key=lambda group: rank[group.name])


def _rows(channels: Channels) -> tuple[list[Labels], list[list[Origin]]]:
    """The classes along every parameter axis and part, and under every number, each row once: most are alike.

    Returns:
        The rows, and for each the layers whose output channels lie along it.
    """
    tracing = channels.tracing
    origins = {(origin.weight, origin.axis): origin for origin in tracing.origins.values()}
    places = [(labels, origins.get(binding)) for binding, labels in tracing.bindings.items()]
    places += [(size.counted, None) for size in channels.sizes if size.whole is None]
    places += [(part, None) for part in tracing.parts]
    rows: dict[bytes, Labels] = {}
    along: dict[bytes, list[Origin]] = {}
    for labels, origin in places:
        classes = channels.root[labels]
        key = classes.tobytes()
        rows.setdefault(key, classes)
        along.setdefault(key, []).extend([origin] if origin else [])
    return list(rows.values()), list(along.values())


def _runs(rows: list[Labels], allowed: np.ndarray) -> Iterator[tuple[Labels, np.ndarray]]:
    """Neighbouring classes that are in the same rows equally often, and these: [rows, 2], (row, how often).

    Classes of one layer lie beside each other, so there are hardly more runs than groups.

    Args:
        allowed: class -> whether it is asked for.
    """
    if not rows:
        return
    classes, where = np.concatenate(rows), np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    live = allowed[classes]
    order = np.argsort(classes[live], kind="stable")
    pairs = np.stack([classes[live][order], where[live][order]], axis=1)
    if not len(pairs):
        return
    first = np.flatnonzero(np.diff(pairs, axis=0, prepend=-1).any(axis=1))
    found, touches = pairs[first, 0], np.stack([pairs[first, 1], np.diff(first, append=len(pairs))], axis=1)
    starts = np.flatnonzero(np.diff(found, prepend=-1))
    lengths = np.diff(starts, append=len(found))
    before = np.maximum(np.arange(len(found)) - np.repeat(lengths, lengths), 0)
    same = np.logical_and.reduceat((touches == touches[before]).all(axis=1), starts)
    heads = np.flatnonzero(~same | (np.diff(lengths, prepend=0) != 0))
    for head, end in zip(heads.tolist(), [*heads[1:].tolist(), len(starts)], strict=True):
        yield found[starts[head:end]], touches[starts[head] : starts[head] + lengths[head]]


def _group(channels: Channels, family: Labels, origins: list[Origin], unit: np.ndarray) -> Group:
    """Units in the order in which the first layer's channels name them.

    Args:
        unit: label -> -1, lent to be written on; it is so again afterwards.
    """
    first = channels.root[origins[0].labels]
    unit[family] = 0
    first = first[unit[first] == 0]
    roots = first[np.sort(np.unique(first, return_index=True)[1])]
    unit[roots] = np.arange(len(roots))
    members = tuple(Member(origin, unit[channels.root[origin.labels]]) for origin in origins)
    unit[family] = -1
    return Group(roots, members)

"""Channel labels: which output channel of which layer a position along a tensor's axis is, and which must go together.

Every prunable channel gets an integer label. Labels travel through the network as NumPy index arrays, one per tensor
axis; a residual addition says that two labels live or die together, an attention softmax that some cannot die at all.
Label 0 means "always there".
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Labels = np.ndarray
"""1-D integer array, one label per position along one axis."""

Axes = dict[int, Labels]
"""The labelled axes of one tensor; an axis that is missing has no channels to remove."""


@dataclass(frozen=True)
class Pin:
    """Why some labels cannot be removed."""

    op: str
    reason: str


@dataclass
class LabelBook:
    """Hands out labels and collects what is known about them: equalities and pins, solved later all at once."""

    count: int = 1
    pairs: list[tuple[Labels, Labels]] = field(default_factory=list)
    pins: list[tuple[Labels, Pin]] = field(default_factory=list)
    _root: Labels = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    _united: int = 0

    def fresh(self, size: int) -> Labels:
        """`size` labels that nothing refers to yet."""
        first = self.count
        self.count += size
        return np.arange(first, self.count)

    def unite(self, a: Labels | None, b: Labels | None, pin: Pin) -> None:
        """Positions of `a` and `b` are removed together; against an unlabelled side the other one is pinned."""
        if a is None and b is None:
            return
        if a is None or b is None:
            self.pin(b if a is None else a, pin)
            return
        if a is b:
            return
        a, b = np.broadcast_arrays(a, b)
        self.pairs.append((a, b))
        fixed = (a == 0) | (b == 0)
        if fixed.any():
            self.pin(np.concatenate([a[fixed], b[fixed]]), pin)

    def unite_rows(self, rows: Labels, pin: Pin) -> None:
        """The rows of a 2-D array are removed at the same positions."""
        for row in rows[1:]:
            self.unite(rows[0], row, pin)

    def united(self, labels: Labels) -> Labels:
        """For each label the smallest one that it goes together with, as far as is known yet."""
        if len(self._root) < self.count:
            self._root = np.concatenate([self._root, np.arange(len(self._root), 2 * self.count)])
        new, self._united = self.pairs[self._united :], len(self.pairs)
        if new:
            sides = (self._find(np.concatenate([np.ravel(pair[side]) for pair in new])) for side in (0, 1))
            names, places = np.unique(np.concatenate([[0], *sides]), return_inverse=True)
            self._root[names] = names[components(len(names), [tuple(np.split(places[1:], 2))])]
        return self._find(labels)

    def _find(self, labels: Labels) -> Labels:
        """Follows each label to the smallest one known; the cost is theirs, not that of all labels."""
        found = self._root[labels]
        while not np.array_equal(found, above := self._root[found]):
            found = above
        self._root[labels] = found
        return found

    def pin(self, labels: Labels | None, pin: Pin) -> None:
        """These labels stay."""
        if labels is not None and labels.size:
            self.pins.append((np.unique(labels), pin))


def components(count: int, pairs: list[tuple[Labels, Labels]]) -> Labels:
    """For every label the smallest label it is united with, directly or through others.

    Roots are hooked to smaller roots and paths halved until nothing changes; each round is a few NumPy calls.
    """
    root = np.arange(count)
    if not pairs:
        return root
    a = np.concatenate([np.ravel(pair[0]) for pair in pairs])
    b = np.concatenate([np.ravel(pair[1]) for pair in pairs])
    live = (a != 0) & (b != 0)
    a, b = a[live], b[live]
    while True:
        a, b = root[a], root[b]
        apart = a != b
        if not apart.any():
            return root
        a, b = a[apart], b[apart]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(root, halved := root[root]):
            root = halved

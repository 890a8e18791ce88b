"""Numbers as counts of channels: what a formula counts, whatever channels are removed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ppcls_compress.slim.prune.trace.labels import Labels


def _none() -> Labels:
    return np.zeros(0, dtype=np.int64)


class Opaque(Exception):
    """A formula gives no count of channels."""


@dataclass(frozen=True)
class Count:
    """How many of the labels `plus` are left, less how many of `minus`, plus a number. Labels may come repeatedly."""

    plus: Labels = field(default_factory=_none)
    minus: Labels = field(default_factory=_none)
    number: int = 0

    def __add__(self, other: Count) -> Count:
        plus, minus = np.concatenate([self.plus, other.plus]), np.concatenate([self.minus, other.minus])
        return Count(plus, minus, self.number + other.number)

    def __neg__(self) -> Count:
        return Count(self.minus, self.plus, -self.number)

    def times(self, factor: int) -> Count:
        """The whole count `factor` times over."""
        if factor < 0:
            return -self.times(-factor)
        return Count(np.tile(self.plus, factor), np.tile(self.minus, factor), self.number * factor)

    def left(self, keep: np.ndarray) -> int:
        """The number, under a mask over labels."""
        return int(keep[self.plus].sum()) - int(keep[self.minus].sum()) + self.number

    @property
    def labels(self) -> Labels:
        """All that it depends on."""
        return np.concatenate([self.plus, self.minus])


@dataclass(frozen=True)
class Classes:
    """What is known of labels: which are the same, and which are always there.

    Attributes:
        root: label -> representative.
        stays: representative -> it cannot be removed.
    """

    root: Labels
    stays: np.ndarray

    def simple(self, count: Count) -> Count:
        """The same count without what cancels out and what always stays."""
        plus, minus = self.root[count.plus], self.root[count.minus]
        number = count.number + int(self.stays[plus].sum()) - int(self.stays[minus].sum())
        plus, minus = plus[~self.stays[plus]], minus[~self.stays[minus]]
        if len(plus) and len(minus):
            span = max(len(plus), len(minus)) + 1
            a, b = (roots * span + _repetition(roots) for roots in (plus, minus))
            plus, minus = plus[~np.isin(a, b)], minus[~np.isin(b, a)]
        return Count(plus, minus, number)

    def number(self, count: Count) -> int | None:
        """The count as a plain number, None when it depends on what is removed."""
        simple = self.simple(count)
        return None if len(simple.plus) or len(simple.minus) else simple.number

    def ratio(self, count: Count, by: Count) -> int | None:
        """How many times as much one count is as the other, whatever is removed; None when that is not fixed."""
        count, by = self.simple(count), self.simple(by)
        if len(count.minus) or len(by.minus) or not len(by.plus) or len(count.plus) % len(by.plus):
            return None
        times = len(count.plus) // len(by.plus)
        alike = np.array_equal(np.sort(count.plus), np.sort(np.tile(by.plus, times)))
        return times if alike and count.number == times * by.number else None

    def divided(self, count: Count, by: int) -> tuple[Count, Labels | None]:
        """The count divided by a number and rounded down, and the rows of labels that have to be removed alike for it.

        Raises:
            Opaque: there is no such count.
        """
        count = self.simple(count)
        if len(count.minus) or by < 1:
            raise Opaque
        repetition = _repetition(count.plus)
        if (np.bincount(count.plus) % by == 0).all():
            return Count(count.plus[repetition % by == 0], number=count.number // by), None
        if len(count.plus) % by:
            raise Opaque
        rows = count.plus.reshape(by, -1)
        return Count(rows[0], number=count.number // by), rows


def _repetition(labels: Labels) -> Labels:
    """At each position how often its label came before."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    lengths = np.diff(np.append(starts, len(ordered)))
    found = np.empty(len(labels), dtype=np.int64)
    found[order] = np.arange(len(ordered)) - np.repeat(starts, lengths)
    return found

"""Which labels go together, and which stay, once everything that is known of them is put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppcls_compress.slim.prune.trace.context import Size, Tracing
from ppcls_compress.slim.prune.trace.count import Classes
from ppcls_compress.slim.prune.trace.equations import Equation, Solver, Terms, equations_of
from ppcls_compress.slim.prune.trace.labels import Labels, Pin, components

_TRIALS = 4
"""Random choices of channels for which every number is computed, to see that it comes out right."""


@dataclass(frozen=True)
class Solved:
    """The classes of labels.

    Attributes:
        root: label -> representative label of its class.
        pinned: representative of a class that stays -> why.
        terms: what the attributes of layers count.
    """

    root: Labels
    pinned: dict[int, Pin]
    terms: Terms


def settle(
    tracing: Tracing,
    sizes: Sequence[Size],
    pairs: list[tuple[Labels, Labels]],
    pins: list[tuple[Labels, Pin]],
) -> Solved:
    """Adds to what is known what the network's numbers need, until they come out right whatever is removed."""
    pairs, pins = list(pairs), list(pins)
    equations = equations_of(tracing, sizes)
    while True:
        root = components(tracing.book.count, pairs)
        pinned: dict[int, Pin] = {0: Pin("", "no channel")}
        for labels, pin in pins:
            for label in np.unique(root[labels]).tolist():
                pinned.setdefault(label, pin)
        stays = np.zeros(len(root), dtype=bool)
        stays[list(pinned)] = True
        solver = Solver(tracing, Classes(root, stays))
        solver.solve(equations)
        more = [(labels, pin) for labels, pin in solver.pins if not stays[root[labels]].all()]
        if not more and not solver.pairs:
            more = _wrong(equations, solver.terms, root, stays)
        if not more and not solver.pairs:
            return Solved(root, pinned, solver.terms)
        pairs += solver.pairs
        pins += more


def _wrong(equations: Sequence[Equation], terms: Terms, root: Labels, stays: np.ndarray) -> list[tuple[Labels, Pin]]:
    """The labels of equations that do not hold for some random choices: they have to stay."""
    live = [equation for equation in equations if not stays[root[terms.labels(equation)]].all()]
    if not live:
        return []
    random = np.random.default_rng(0)
    chosen = np.unique(root[np.concatenate([terms.labels(equation) for equation in live])])
    found = []
    for trial in range(_TRIALS):
        kept = stays.copy()
        kept[chosen] |= random.random(len(chosen)) < (trial + 1) / (_TRIALS + 1)
        keep = kept[root]
        found += [equation for equation in live if not terms.holds(equation, keep)]
    return [(terms.labels(equation), equation.pin) for equation in found]

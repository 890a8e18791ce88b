"""Where a network's own code looks at numbers of channels in ways that its equations do not tell everything about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ppcls_compress.slim.prune.trace.classes import Solved
from ppcls_compress.slim.prune.trace.context import Tracing
from ppcls_compress.slim.prune.trace.equations import Terms
from ppcls_compress.slim.prune.trace.formula import Formula, Held, Leaf, leaves
from ppcls_compress.slim.prune.trace.labels import Labels
from ppcls_compress.slim.prune.trace.number import Guard

_NONE = np.zeros(0, dtype=np.int64)


def doubts(tracing: Tracing, solved: Solved) -> tuple[list[Guard], Labels]:
    """Comparisons that may come out differently when channels are removed, and all classes that are in doubt.

    These are the ones whose number a network's own code has read, compared, made a float of, or holds in an attribute.
    What it does with it then, as a loop that runs as often, cannot be seen without trying.
    """
    found = {leaf for formula in _formulas(tracing) for leaf in leaves(formula)}
    guards = [guard for guard in tracing.sources.log.guards if len(_removable(solved, guard.leaves))]
    return guards, _removable(solved, found)


def _removable(solved: Solved, found: Iterable[Leaf]) -> Labels:
    roots = np.unique(solved.root[counted(solved.terms, found)])
    return np.array([root for root in roots.tolist() if root not in solved.pinned], dtype=np.int64)


def _formulas(tracing: Tracing) -> Iterator[Formula]:
    log = tracing.sources.log
    yield from log.read
    yield from (side for guard in log.guards for side in (guard.left, guard.right))
    yield from (loss.formula for loss in log.losses)
    yield from (held for held in tracing.sources.attributes if not _is_paddles(tracing, held))


def _is_paddles(tracing: Tracing, held: Held) -> bool:
    return type(tracing.layers[held.layer]).__module__.startswith("paddle.nn.")


def flipped(guards: Iterable[Guard], terms: Terms, keep: np.ndarray) -> list[Guard]:
    """The comparisons that come out differently once only these labels are left."""
    return [guard for guard in guards if not guard.holds(lambda leaf: terms.value(leaf, keep))]


def counted(terms: Terms, found: Iterable[Leaf]) -> Labels:
    """The labels that sizes and attributes depend on."""
    counts = [count for leaf in found if (count := terms.of(leaf)) is not None]
    return np.unique(np.concatenate([_NONE, *(count.labels for count in counts)]))

"""How much pruning must leave so that a file costs what it may: measured on a few files, interpolated between."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppcls_compress import io
from ppcls_compress.config.schema import Config
from ppcls_compress.deploy import formats
from ppcls_compress.deploy.measure.layers import Table, layers_of
from ppcls_compress.deploy.profiling import rehearsed, sized, write_rehearsed
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import NotKeptError
from ppcls_compress.search import judge
from ppcls_compress.slim.options import SlimOptions

KEPT = (1.0, 0.5, 0.25, 0.1)
"""Shares of the multiply-adds, or parameters, of the files that are measured."""
INTEGERS = ("pact", "lsq", "ptq")
RULE = 3
"""Of `needed`: another number where the same files give other shares, and a search must begin anew."""
MARGIN = 0.98
"""A candidate aims at a little less than it may cost, because counts of channels are whole numbers."""


@dataclass(frozen=True)
class Anchor:
    """One measured file.

    Attributes:
        integers: whether it is quantized.
        kept: the share of the multiply-adds (or parameters) that pruning left.
        cost: as a share of the dense file's.
    """

    integers: bool
    kept: float
    cost: float


def measured(config: Config, cost: str, dense: Path, file: Path, slow: Sequence[str] = ()) -> list[Anchor]:
    """What float and integer files of a few uniform prunings cost; what `file` holds already is not repeated.

    Args:
        cost: `bytes` or `latency`, see `counts_of`.
        dense: the dense artifact.
        file: JSON.
        slow: layers that may stay float beside integers; the cheaper of the two files counts.
    """
    runtime = config.Slim.auto.place[1]
    found = io.read_json(file) if file.exists() else []
    anchors = [Anchor(**item) for item in found]
    reference = judge.costs(dense, None, runtime, timed=False)
    for integers in (False, True):
        for kept in KEPT:
            if any((each.integers, each.kept) == (integers, kept) for each in anchors):
                continue
            files = [
                file_costs(config, sized(kept, counts_of(cost), integers=integers, spared=spared), dense)
                for spared in ((), slow)[: 1 + bool(integers and slow)]
            ]
            anchors.append(Anchor(integers, kept, min(own.shares(reference)[cost] for own in files)))
            io.write_json(file, [vars(each) for each in anchors])
            kind = "integers" if integers else "float"
            logger.info("a file of %s with %.0f%% of the %s: %.1f%% of the dense one's %s", kind, 100 * kept,
                        counts_of(cost), 100 * anchors[-1].cost, cost)  # fmt: skip
    return anchors


def file_costs(config: Config, options: SlimOptions, dense: Path) -> judge.Costs:
    """What a file costs that is compressed and not trained; it is not kept, for its answers mean nothing.

    Args:
        dense: the dense artifact, which a latency is timed beside.
    """
    (name, runtime), timed = config.Slim.auto.place, config.Slim.auto.cost == "latency"
    with tempfile.TemporaryDirectory() as folder:
        write_rehearsed(config, Path(folder), formats.get(name), options)
        return judge.costs(Path(folder), dense, runtime, timed=timed)


def predicted(config: Config, table: Table, slow: Sequence[str] = ()) -> list[Anchor]:
    """The same for the latency of another machine, by its profile: no file is written.

    Raises:
        UserError: the profile is of other layers.
    """
    anchors, dense = [], 0.0
    for kept in KEPT:
        model, _ = rehearsed(config, sized(kept, "flops", integers=False))
        found = layers_of(model, config.Global.image_shape)
        dense = dense or table.predicted(found)
        everything = {layer.name for layer in found}
        integers = min(table.predicted(found, quantized) for quantized in (everything, everything.difference(slow)))
        anchors.append(Anchor(False, kept, table.predicted(found) / dense))
        anchors.append(Anchor(True, kept, integers / dense))
    return anchors


def counts_of(cost: str) -> str:
    """What `Candidate.share` is a share of: pruning by parameters shrinks files, by multiply-adds all else."""
    return "params" if cost in ("bytes", "params") else "flops"


def needed(cost: str, share: float, anchors: Sequence[Anchor]) -> dict[str, float]:
    """By quantizer, the share of multiply-adds or parameters that pruning must leave so that a file costs `share`.

    A quantizer whose cheapest file costs more is left out; 1 means that nothing needs to be pruned. A file that was
    measured counts by itself too: small networks can be slower pruned than whole.
    """
    found = {}
    for quantizer in (*INTEGERS, "float"):
        if not anchors:
            found[quantizer] = share * MARGIN
            continue
        kind, wanted = quantizer in INTEGERS, share * MARGIN
        kept, prices = rising(anchors, integers=kind)
        enough = [anchor.kept for anchor in anchors if anchor.integers == kind and anchor.cost <= wanted]
        if wanted >= prices[0]:
            enough.append(float(np.interp(wanted, prices, kept)))
        if enough:
            found[quantizer] = max(enough)
    return found


def rising(anchors: Sequence[Anchor], *, integers: bool) -> tuple[list[float], list[float]]:
    """The shares that were kept, and what they cost: less is never dearer, but for the noise of what was timed.

    Returns:
        Both from the smallest up; neighbours that are the wrong way round have their mean (isotonic regression), or,
        where they are as dear, the larger share alone.
    """
    points = sorted((anchor.kept, anchor.cost) for anchor in anchors if anchor.integers == integers)
    pools: list[list[tuple[float, float]]] = []
    for point in points:
        pools.append([point])
        while len(pools) > 1 and _mean(pools[-2]) >= _mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    return [pool[-1][0] for pool in pools], [_mean(pool) for pool in pools]


def _mean(pool: Sequence[tuple[float, float]]) -> float:
    return sum(cost for _, cost in pool) / len(pool)


def least(anchors: Sequence[Anchor]) -> Anchor:
    """The cheapest file."""
    return min(anchors, key=lambda anchor: anchor.cost)


def check_reachable(cost: str, share: float, anchors: Sequence[Anchor]) -> None:
    """Refuse a target below the cheapest file.

    Raises:
        NotKeptError: says what would have to be loosened.
    """
    if anchors and not needed(cost, share, anchors):
        found = least(anchors)
        kind = "integers" if found.integers else "float"
        raise NotKeptError(
            f"Slim.auto.target.{cost}: {share:g} is out of reach: with {found.kept:.0%} of the {counts_of(cost)} left, "
            f"in {kind}, a file still has {found.cost:.1%} of the dense one's {cost}; nothing was trained. What "
            f"could be kept begins at {cost}: {found.cost / MARGIN + 0.005:.2f}"
        )

"""What became of each candidate: its row, its loss, who goes on, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ppcls_compress.config.auto import Auto
from ppcls_compress.search.board import FAILED, PASSING, Job
from ppcls_compress.search.judge import Costs, Drop

LONGER = 3
"""How many times longer each next round trains, and of how many candidates one goes on (successive halving)."""
ROUNDS = 3
MOST_FINALISTS = 3
TRIALS = "trials"
"""Where the folders of the jobs are, in that of the search."""


@dataclass(frozen=True)
class Row:
    """One trained candidate.

    Attributes:
        name: of its job, and of its folder.
        slot: which candidate it is.
        round: 0, 1 or 2.
        title: of the candidate.
        artifact: its exported model, in its folder; None where it failed.
        shares: what it costs, as shares of the dense file.
        drop: on the images that the search sees; None where it failed.
        seconds: that it took.
        lost: why it is not the chosen one; empty for that.
        folder: of its job, see `Job.folder`.
        passing: whether it failed for a reason that may pass.
        by_hand: see `Candidate.by_hand`.
    """

    name: str
    slot: int
    round: int
    title: str
    artifact: str | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    drop: Drop | None = None
    seconds: float = 0.0
    lost: str = ""
    folder: str = ""
    passing: bool = False
    by_hand: bool = False


def row_of(job: Job, dense: Costs) -> Row:
    """The row of a finished job."""
    found, what = job.result, job.what
    row = Row(
        job.name,
        what["slot"],
        what["round"],
        what["title"],
        seconds=found.get("seconds", 0.0),
        folder=job.folder,
        by_hand=what["by_hand"],
    )
    if "failed" in found:
        return replace(row, lost=f"failed: {found['failed']}", passing=found.get(PASSING, False))
    shares, drop = Costs(**found["cost"]).shares(dense), Drop(**found["drop"])
    return replace(row, artifact=found["artifact"], shares=shares, drop=drop)


def over(row: Row, auto: Auto) -> float:
    """By how much it costs more than it may, as a share of the dense network's cost."""
    return 0.0 if auto.share is None else max(0.0, row.shares[auto.cost] - auto.share)


def loss(row: Row, auto: Auto) -> float:
    """What the search makes small.

    With a target, the bound of the drop in points, and beyond the target a hundred and what is too much of the cost, in
    percent. Without one, the cost in percent, and beyond `max_drop` a hundred and the points too many.
    """
    if row.drop is None:
        return FAILED
    if auto.share is not None:
        beyond = over(row, auto)
        return row.drop.bound + (100 + 100 * beyond if beyond else 0.0)
    beyond = row.drop.points - auto.max_drop
    return 100 * row.shares[auto.cost] if beyond <= 0 else 100 + beyond


def ranked(rows: Sequence[Row], auto: Auto) -> list[Row]:
    """The best first; of equal ones the cheaper."""
    usable = [row for row in rows if row.drop is not None]
    return sorted(usable, key=lambda row: (loss(row, auto), row.shares[auto.cost], row.slot, row.round))


def going_on(rows: Sequence[Row], auto: Auto) -> list[Row]:
    """Of the rows of one round, those that are trained longer: a third, at least one, and recipes by hand.

    A few epochs tell who recovers soon rather than who ends well, so what anybody would have trained instead goes on,
    unless another such recipe is surely better; the choice is then no worse for all that the images tell.
    """
    usable = [row for row in ranked(rows, auto) if not over(row, auto)]
    by_hand = [row for row in usable if row.by_hand]
    best = usable[: -(-len(rows) // LONGER)]
    return [*best, *(row for row in by_hand if row not in best and row.drop.points <= by_hand[0].drop.bound)]


def finalists(rows: Sequence[Row], auto: Auto) -> list[Row]:
    """Those that the deciding images are shown, in this order, until one keeps the contract.

    Those that keep it on the images of the search come first, then who was trained longer: one among a few hundred
    images is a third of a point, and between trainings of one candidate it tells less than their length does. So a
    candidate takes part once, with its longest training, unless a shorter one is surely better.
    """
    found: dict[int, Row] = {}
    usable = [row for row in ranked(rows, auto) if not over(row, auto)]
    for row in sorted(usable, key=lambda row: -row.round):
        longer = found.get(row.slot)
        if longer is None or row.drop.bound < longer.drop.points:
            found[row.slot] = row

    def order(row: Row) -> tuple[bool, int, float]:
        return row.drop.bound > auto.max_drop, -row.round, loss(row, auto)

    return sorted(found.values(), key=order)[:MOST_FINALISTS]


def explained(rows: Sequence[Row], auto: Auto, decided: Mapping[str, str], chosen: str | None) -> list[Row]:
    """The rows with why each lost.

    Args:
        decided: why finalists failed on the deciding images, by name.
        chosen: the name of the one that keeps the contract.
    """
    return [row if row.name == chosen else replace(row, lost=_reason(row, rows, auto, decided)) for row in rows]


def _reason(row: Row, rows: Sequence[Row], auto: Auto, decided: Mapping[str, str]) -> str:
    if row.lost:
        return row.lost
    if row.name in decided:
        return decided[row.name]
    if over(row, auto):
        return f"{row.shares[auto.cost]:.1%} of the {auto.cost}, {auto.share:.1%} are allowed"
    points = f"{row.drop.points:.2f} points lost on the images of the search"
    if auto.share is None:
        points = f"{row.shares[auto.cost]:.1%} of the {auto.cost} at {points}"
    later = [other for other in rows if other.slot == row.slot and other.round > row.round]
    if later:
        return f"{points}; it was trained longer as {later[-1].name}"
    better = sum(loss(other, auto) < loss(row, auto) for other in rows if other.slot != row.slot)
    if not better:
        return f"{points}; none is better, but of equals those that were trained longer, or cost less, come first"
    who = "another candidate is better" if better == 1 else f"{better} trainings of other candidates are better"
    return f"{points}; {who}"


def pareto(rows: Sequence[Row], cost: str) -> set[str]:
    """The names of those that no other beats in both cost and drop."""
    usable = [row for row in rows if row.drop is not None]

    def beaten(row: Row) -> bool:
        mine = (row.shares[cost], row.drop.points)
        others = [(other.shares[cost], other.drop.points) for other in usable if other is not row]
        return any(a <= mine[0] and b <= mine[1] and (a, b) != mine for a, b in others)

    return {row.name for row in usable if not beaten(row)}


def plain(row: Row, front: set[str]) -> dict[str, Any]:
    """For a table: flat, plain values."""
    drop = {} if row.drop is None else {"drop_points": row.drop.points, "drop_bound": row.drop.bound}
    shares = {f"{name}_share": share for name, share in row.shares.items()}
    file = None if row.artifact is None else f"{TRIALS}/{row.folder}/{row.artifact}"
    about = {"name": row.name, "round": row.round, "candidate": row.title, "artifact": file}
    return {**about, **drop, **shares, "pareto": row.name in front, "seconds": row.seconds, "lost": row.lost}

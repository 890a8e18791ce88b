"""What a search for a network that keeps a contract has tried, and what it promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ppcls_compress.report.charts.kinds import Frame, Mark, points
from ppcls_compress.report.page.html import Folded, Part, Section, cards, table

_LONG = 20
_FAR = 8
"""So many times the points that may be lost are drawn."""


@dataclass(frozen=True)
class Search:
    """A search that is over.

    Attributes:
        rows: of everything that was tried, as `report.pareto` writes them.
        cost: what it was about, `latency` say.
        share: of it, allowed at most; None for no bound.
        max_drop: points, allowed at most.
        promise: of the network that was chosen, as `contract.json` has it; None where the contract could not be kept.
    """

    rows: Sequence[Mapping[str, Any]]
    cost: str
    share: float | None
    max_drop: float
    promise: Mapping[str, Any] | None


def headline(search: Search) -> str:
    """What was promised, or that nothing was."""
    if search.promise is None:
        return cards([("not kept", f"none of {len(search.rows)} trainings keeps the contract")])
    found = search.promise
    lost, images = found["drop_points"], found["deciding_images"]
    return cards(
        [
            (f"{abs(lost):.2f}", f"points {'gained' if lost < 0 else 'lost'} on the {images:,} images that decide"),
            (f"≤ {found['drop_bound']:.2f}", f"points lost, with confidence; {search.max_drop:g} are allowed"),
            (f"{found['shares'][search.cost]:.0%}", f"of the dense network's {search.cost}"),
            (f"{len(search.rows)}", "trainings were tried"),
        ]
    )


def section(search: Search) -> Section:
    """A chart of cost and loss, and a table with why each was not chosen."""
    tried = [row for row in search.rows if "drop_points" in row]
    near = [row for row in tried if row["drop_points"] <= _FAR * max(search.max_drop, 0.5) or not row["lost"]]
    parts: list[Part] = [f"<p>{_explained(search, len(tried) - len(near))}</p>"]
    if near:
        near.sort(key=lambda row: not row["lost"])  # the chosen one on top
        shares = [100 * row[f"{search.cost}_share"] for row in near]
        pairs = zip(near, shares, strict=True)
        marks = [Mark(row["name"], share, row["drop_points"], _kind(row), _label(row)) for row, share in pairs]
        frame = Frame("what was tried", f"{search.cost}, % of the dense network's", "points lost on images that choose")
        limit = None if search.share is None else 100 * search.share
        parts.append(points(marks, frame, (limit, search.max_drop)))
    rows = [
        [
            escape(str(row["name"])),
            escape(str(row.get("candidate", ""))),
            f"{row['drop_points']:+.2f}" if "drop_points" in row else "",
            f"{row[f'{search.cost}_share']:.1%}" if f"{search.cost}_share" in row else "",
            escape(str(row["lost"])) or "<b>chosen</b>",
        ]
        for row in search.rows
    ]
    found = table(("candidate", "what it is", "points lost", search.cost, "why it is not the one"), rows)
    parts.append(found if len(rows) <= _LONG else Folded(f"All {len(rows)} trainings", [found]))
    return Section("What was tried", parts)


def _explained(search: Search, left_out: int) -> str:
    chosen = ", in green the one that was chosen" if search.promise else ""
    far = f" Not drawn: {left_out} that lost more than {_FAR} times what is allowed." if left_out else ""
    return f"The red lines may not be passed{chosen}; in blue those that no other betters in both.{far}"


def _label(row: Mapping[str, Any]) -> str:
    return row["name"] if row["pareto"] or not row["lost"] else ""


def _kind(row: Mapping[str, Any]) -> str:
    return "good" if not row["lost"] else "s1" if row["pareto"] else "s0"

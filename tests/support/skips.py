"""What was skipped, in a line for each reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_PREFIX = "Skipped: "


def grouped(reasons: Iterable[str]) -> list[str]:
    """`145 x reason`, the most frequent first; reasons that differ after a colon or in brackets count as one."""
    counts = Counter(_kind(reason.removeprefix(_PREFIX)) for reason in reasons)
    return [f"{count:>5} x {reason}" for reason, count in counts.most_common()]


def _kind(reason: str) -> str:
    return " ".join(reason.split())

"""Networks side by side: numbers before and after, accuracy against latency, classes, images whose answer changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from ppcls_compress.report.benchmark import Row, fastest, threads_told
from ppcls_compress.report.charts.drawing import Drawing
from ppcls_compress.report.charts.kinds import Frame, Mark, Scale, Timed, points, shaded, times
from ppcls_compress.report.charts.palette import series
from ppcls_compress.report.page.answers import Answers, picture
from ppcls_compress.report.page.html import Beside, Part, Section, cards, count, note, table
from ppcls_compress.report.page.runs import Run

_MOST_CLASSES = 30
_MOST_PICTURES = 24


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of exported networks for the page.

    Attributes:
        runs: those that have exported models; the first is what the others are compared with.
        answers: of each, by its name.
        times: of every artifact, by the run's name.
        doubts: why a score may not be that of its network, a line for each.
    """

    runs: Sequence[Run]
    answers: Answers
    times: Sequence[Row]
    doubts: Sequence[str] = ()

    def colour(self, name: str) -> str:
        """Of a network."""
        return series([run.name for run in self.runs].index(name))

    def told(self, row: Row, what: str) -> str:
        """What a file is called: by its network too, where there are several."""
        return f"{row.name}, {what}" if len(self.runs) > 1 else what


def headline(found: Measured) -> str:
    """The numbers that matter most."""
    first, last, answers = found.runs[0], found.runs[-1], found.answers
    right, images = f"{100 * answers.top1(last.name):.2f}%", f"{len(answers.labels):,} images"
    if len(found.runs) == 1:
        return cards([(right, f"top-1 on {images}"), (f"{first.size / 1e6:.2f} MB", "on disk")])
    change = 100 * (answers.top1(last.name) - answers.top1(first.name))
    quickest = {run.name: fastest(found.times, run.name) for run in (first, last)}
    return cards(
        [
            (right, f"top-1 of {last.name}, on {images}"),
            (f"{change:+.2f}", f"points against {first.name}"),
            (f"{last.size / first.size:.0%}", f"of the bytes, {last.size / 1e6:.2f} MB"),
            (f"{quickest[first.name] / quickest[last.name]:.2f}x", f"as fast, {quickest[last.name]:.2f} ms"),
        ]
    )


def sections(found: Measured) -> Iterator[Section]:
    """All that was measured."""
    yield Section("Before and after" if len(found.runs) > 1 else "Size and speed", _before_and_after(found))
    yield Section("Latency", [_latency(found)])
    if len(found.times) > 1:
        told = note("A point for each file in each runtime; its label says which is the fastest of a network.")
        yield Section("Accuracy against latency", [_accuracy(found), told])
    yield Section("Classes", _classes(found))
    if len(found.runs) > 1:
        yield Section("Images whose answer changed", _changed(found))


def _latency(found: Measured) -> Drawing:
    rows = [
        Timed(found.told(row, f"{row.format} in {row.runtime}"), row.median_ms, row.p90_ms, found.colour(row.name))
        for row in found.times
    ]
    return times(rows, "latency of each file in its runtimes")


def _accuracy(found: Measured) -> Drawing:
    top1 = {run.name: 100 * found.answers.top1(run.name) for run in found.runs}
    quickest = {run.name: fastest(found.times, run.name) for run in found.runs}
    marks = []
    for row in found.times:
        name = found.told(row, f"{row.format} in {row.runtime}")
        label = found.told(row, row.format) if row.median_ms == quickest[row.name] else ""
        marks.append(Mark(name, row.median_ms, top1[row.name], found.colour(row.name), label))
    frame = Frame("accuracy against latency", "milliseconds for one batch", "top-1 %", log_across=True, full=100.0)
    return points(marks, frame)


def _before_and_after(found: Measured) -> list[Part]:
    head, several, rows = (
        ("network", "format", "runtime", "top-1 %", "parameters", "multiply-adds"),
        len(found.runs) > 1,
        [],
    )
    for run in found.runs:
        by_format = {item.description.format: item.description for item in run.exported}
        for row in (row for row in found.times if row.name == run.name):
            description = by_format[row.format]
            agreement = (description.parity or {}).get("agreement")
            rows.append(
                [
                    f"{escape(run.name)} <small>{row.compression}</small>",
                    row.format,
                    escape(row.runtime),
                    f"{100 * found.answers.top1(run.name):.2f}",
                    count(description.params),
                    count(description.flops),
                    f"{row.disk_mb:.2f}",
                    f"{row.median_ms:.2f}",
                    *(["" if row.speedup is None else f"{row.speedup:.2f}x"] if several else []),
                    "" if agreement is None else f"{100 * agreement:.2f}%",
                ]
            )
    how = f"a batch of {found.times[0].batch} with {threads_told(found.times[0].threads)}"
    told = (
        f"top-1 is of the first format of each network, on {len(found.answers.labels):,} images; ms is the median of "
        f"{how}, all timed in turns; {'speed-up is to the first network in the same runtime; ' if several else ''}"
        "as trained: the share of images that got the class that the trained network gives."
    )
    shown = table((*head, "MB", "ms", *(["speed-up"] if several else []), "as trained"), rows)
    doubted = [f'<p class="bad">{escape(line)}</p>' for line in found.doubts]
    return [shown, *doubted, note(told), *([] if several else [note(_ALONE)])]


_ALONE = (
    "To see a network beside the one that it comes from, name that one first: "
    "<code>ppcls-compress report dense=FOLDER small=FOLDER</code>."
)


def _classes(found: Measured) -> list[Part]:
    answers, names, several = found.answers, class_names(found), len(found.runs) > 1
    shares = {run.name: 100 * answers.per_class(run.name) for run in found.runs}
    chosen = _most_interesting(list(shares.values()), answers.classes)
    rows = []
    for index in chosen:
        values = [share[index] for share in shares.values()]
        change = values[-1] - values[0]
        kind = "" if abs(change) < 0.005 else ' class="good"' if change > 0 else ' class="bad"'
        cells = ["" if np.isnan(value) else f"{value:.1f}" for value in values]
        last = [f"<span{kind}>{change:+.1f}</span>" if not np.isnan(change) else ""] if several else []
        rows.append([escape(names[index]), f"{answers.counts[index]}", *cells, *last])
    head = ("class", "images", *(f"{name} %" for name in shares), *(["change"] if several else []))
    parts: list[Part] = [table(head, rows)]
    if answers.classes > _MOST_CLASSES:
        parts.append(note(f"The {len(rows)} of {answers.classes} classes that changed most."))
    return [*parts, *_confusions(found, chosen, [names[index] for index in chosen])]


def _confusions(found: Measured, chosen: Sequence[int], names: Sequence[str]) -> list[Part]:
    """What each network took some classes for, and where the last differs from the first."""
    matrices = {run.name: _confusion(found.answers, run.name, chosen) for run in found.runs}
    drawn = [
        shaded(names, names, _cells(matrix), f"{name}: what each class (row) was taken for, %", Scale(most=100.0))
        for name, matrix in matrices.items()
    ]
    if len(matrices) == 1:
        return drawn
    first, *_, last = matrices
    change = matrices[last] - matrices[first]
    beside = ~np.eye(len(change), dtype=bool)
    cells = _cells(np.where(beside, -change, change))  # more on the diagonal is better, and less beside it
    if not any(value is not None for row in cells for value in row):
        return [Beside(drawn), "<p>The first and the last take every class for the same.</p>"]
    title = f"{last} less {first}: points better (green) or worse (red)"
    return [Beside([*drawn, shaded(names, names, cells, title, Scale("points better", signed=True))])]


def _confusion(answers: Answers, name: str, chosen: Sequence[int]) -> np.ndarray:
    """Percent of the images of some classes (rows) that were taken for some, [n, n]; not a number without images."""
    counts = answers.confusion(name)
    with np.errstate(invalid="ignore"):
        return (100 * counts / counts.sum(axis=1, keepdims=True))[np.ix_(chosen, chosen)]


def _cells(matrix: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(value) or not value else float(value) for value in row] for row in matrix]


def _most_interesting(shares: Sequence[np.ndarray], classes: int) -> Sequence[int]:
    if classes <= _MOST_CLASSES:
        return range(classes)
    change = np.nan_to_num(np.abs(shares[-1] - shares[0]), nan=-1.0)
    return np.argsort(-change, kind="stable")[:_MOST_CLASSES].tolist()


def class_names(found: Measured) -> list[str]:
    """By class index; the index where nobody knows more."""
    known = found.runs[0].exported[0].description.class_names
    return [str(known[i]) if known and i < len(known) else str(i) for i in range(found.answers.classes)]


def _changed(found: Measured) -> list[Part]:
    answers, first, last = found.answers, found.runs[0].name, found.runs[-1].name
    positions, names = answers.changed(first, last), class_names(found)
    lost = int((answers.given[first] == answers.labels)[positions].sum())
    won = int((answers.given[last] == answers.labels)[positions].sum())
    told = (
        f"<p>{len(positions)} of {len(answers.labels):,} images: {lost} that only {escape(first)} answers rightly, "
        f"{won} that only {escape(last)} does, {len(positions) - lost - won} that neither does.</p>"
    )
    figures = []
    for position in positions[:_MOST_PICTURES]:
        source = picture(answers.paths[position])
        if source is None:
            continue
        right, before, after = (
            escape(names[given[position]]) for given in (answers.labels, answers.given[first], answers.given[last])
        )
        kind = "bad" if before == right else "good" if after == right else "soft"
        name = escape(Path(answers.paths[position]).name)
        figures.append(
            f'<figure><img src="{source}" alt="{right}"><figcaption><b>{right}</b><br>'
            f'<span class="{kind}">{before} → {after}</span><br><span class="soft">{name}</span></figcaption></figure>'
        )
    return [told, f'<div class="pictures">{"".join(figures)}</div>']

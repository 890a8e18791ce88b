"""The page itself: sections of HTML about some runs, written as one file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path

import numpy as np

from ppcls_compress import io
from ppcls_compress.deploy.measure import machine
from ppcls_compress.report.benchmark import Row, threads_told
from ppcls_compress.report.page import svg
from ppcls_compress.report.page.answers import Answers, picture
from ppcls_compress.report.page.runs import Run, sensitivities
from ppcls_compress.slim.record import step_of

_MOST_CLASSES = 30
_MOST_PICTURES = 24
_LONG = 40


def write(file: Path, runs: Sequence[Run], answers: Answers, times: Sequence[Row], commands: Sequence[str]) -> None:
    """Write the page.

    Args:
        file: is replaced whole.
        runs: the first is what the others are compared with.
        answers: of each run, by its name.
        times: of every artifact, by the run's name.
        commands: that made the page.

    Raises:
        UserError: the file cannot be written, or what a run left is damaged.
    """
    style = resources.files("ppcls_compress.report.page").joinpath("style.css").read_text(encoding="utf-8")
    title = " and ".join(run.name for run in runs) if len(runs) < 3 else f"{len(runs)} networks"
    body = "\n".join(_sections(runs, answers, times, commands))
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}: compression report</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f'<p class="soft">ppcls_compress, {escape(machine.cpu_name())}</p>\n<h1>{escape(title)}</h1>\n'
        f"{body}\n</main>\n</body>\n</html>\n"
    )
    with io.atomic(file) as partial:
        partial.write_text(text, encoding="utf-8")


def _sections(runs: Sequence[Run], answers: Answers, times: Sequence[Row], commands: Sequence[str]) -> Iterator[str]:
    yield _cards(runs, answers, times)
    yield _heading("Before and after", _before_and_after(runs, answers, times))
    if len(times) > 1:
        named = {_label(row, times): (row.median_ms, 100 * answers.top1(row.name)) for row in times}
        drawn = svg.points(named, "milliseconds for one batch", "top-1 %", "accuracy against latency")
        yield _heading("Accuracy against latency", _wide(drawn))
    yield _heading("Classes", _classes(runs, answers))
    if len(runs) > 1:
        yield _heading("Images whose answer changed", _changed(runs, answers))
    for run in runs:
        for title, content in _of_run(run):
            yield _heading(f"{title}: {run.name}", content)
    yield _heading("How this was made", _code(chr(10).join(commands)) + "".join(map(_record, runs)))


def _cards(runs: Sequence[Run], answers: Answers, times: Sequence[Row]) -> str:
    first, last = runs[0], runs[-1]
    change = 100 * (answers.top1(last.name) - answers.top1(first.name))
    fastest = {run.name: min(row.median_ms for row in times if row.name == run.name) for run in (first, last)}
    cards = [
        (f"{100 * answers.top1(last.name):.2f}%", f"top-1 on {len(answers.labels):,} images"),
        (f"{change:+.2f}", f"points against {first.name}"),
        (f"{last.size / first.size:.0%}", f"of the bytes, {last.size / 1e6:.2f} MB"),
        (f"{fastest[first.name] / fastest[last.name]:.2f}x", f"as fast, {fastest[last.name]:.2f} ms"),
    ]
    shown = cards if len(runs) > 1 else [cards[0], (f"{first.size / 1e6:.2f} MB", "on disk")]
    return '<ul class="cards">' + "".join(f"<li><b>{big}</b>{escape(small)}</li>" for big, small in shown) + "</ul>"


def _before_and_after(runs: Sequence[Run], answers: Answers, times: Sequence[Row]) -> str:
    head = (
        "network",
        "format",
        "runtime",
        "top-1 %",
        "parameters",
        "multiply-adds",
        "MB",
        "ms",
        "speed-up",
        "as trained",
    )
    rows = []
    for run in runs:
        by_format = {item.description.format: item for item in run.exported}
        for row in (row for row in times if row.name == run.name):
            description = by_format[row.format].description
            parity = description.parity or {}
            agreement = parity.get("agreement")
            rows.append(
                [
                    f"{escape(run.name)} <small>{row.compression}</small>",
                    row.format,
                    escape(row.runtime),
                    f"{100 * answers.top1(run.name):.2f}",
                    _count(description.params),
                    _count(description.flops),
                    f"{row.disk_mb:.2f}",
                    f"{row.median_ms:.2f}",
                    "" if row.speedup is None else f"{row.speedup:.2f}x",
                    "" if agreement is None else f"{100 * agreement:.2f}%",
                ]
            )
    how = f"a batch of {times[0].batch} with {threads_told(times[0].threads)}"
    note = (
        f'<p class="soft">top-1 is of the first format of each network, on {len(answers.labels):,} images; ms is the '
        f"median of {how}, all timed in turns; speed-up is to the first network in the same runtime; as trained: the "
        "share of images that got the class that the trained network gives.</p>"
    )
    return _table(head, rows) + note


def _classes(runs: Sequence[Run], answers: Answers) -> str:
    names = _class_names(runs, answers)
    shares = {run.name: 100 * answers.per_class(run.name) for run in runs}
    counts = answers.counts
    rows = []
    for index in _most_interesting(list(shares.values()), answers.classes):
        found = [values[index] for values in shares.values()]
        change = found[-1] - found[0]
        kind = "" if abs(change) < 0.005 else ' class="good"' if change > 0 else ' class="bad"'
        cells = ["" if np.isnan(value) else f"{value:.1f}" for value in found]
        last = [f"<span{kind}>{change:+.1f}</span>" if len(runs) > 1 and not np.isnan(change) else ""]
        rows.append([escape(names[index]), f"{counts[index]}", *cells, *last])
    table = _table(("class", "images", *(f"{name} %" for name in shares), "change" if len(runs) > 1 else ""), rows)
    if answers.classes > _MOST_CLASSES:
        return table + f'<p class="soft">The {len(rows)} of {answers.classes} classes that changed most.</p>'
    drawn = []
    for run in runs:
        counts = answers.confusion(run.name)
        with np.errstate(invalid="ignore"):
            shown = 100 * counts / counts.sum(axis=1, keepdims=True)
        cells = [[None if np.isnan(value) or not value else float(value) for value in row] for row in shown]
        drawn.append(f"<h3>{escape(run.name)}: what each class (row) was taken for, %</h3>")
        drawn.append(_wide(svg.shaded(names, names, cells, f"confusion of {run.name}")))
    return table + "".join(drawn)


def _most_interesting(shares: Sequence[np.ndarray], classes: int) -> Sequence[int]:
    if classes <= _MOST_CLASSES:
        return range(classes)
    change = np.nan_to_num(np.abs(shares[-1] - shares[0]), nan=-1.0)
    return np.argsort(-change, kind="stable")[:_MOST_CLASSES].tolist()


def _class_names(runs: Sequence[Run], answers: Answers) -> list[str]:
    known = runs[0].exported[0].description.class_names
    return [str(known[index]) if known and index < len(known) else str(index) for index in range(answers.classes)]


def _changed(runs: Sequence[Run], answers: Answers) -> str:
    first, last = runs[0].name, runs[-1].name
    positions, names = answers.changed(first, last), _class_names(runs, answers)
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
            escape(names[found[position]]) for found in (answers.labels, answers.given[first], answers.given[last])
        )
        name = escape(Path(answers.paths[position]).name)
        figures.append(
            f'<figure><img src="{source}" alt="{right}"><figcaption><b>{right}</b><br>{before} → {after}<br>'
            f'<span class="soft">{name}</span></figcaption></figure>'
        )
    return told + f'<div class="pictures">{"".join(figures)}</div>'


def _of_run(run: Run) -> Iterator[tuple[str, str]]:
    prune, quant = step_of(run.record, "prune"), step_of(run.record, "quant")
    if prune is not None:
        yield "Channels kept", kept(prune)
    if run.epochs:
        yield "Learned ranges", ranges(run.epochs)
    lost = sensitivities(run.folder)
    if lost:
        ratios = sorted({ratio for row in lost.values() for ratio in row})
        cells = [
            [None if ratio not in row else 100 * max(0.0, row[ratio]) for ratio in ratios] for row in lost.values()
        ]
        drawn = svg.shaded(list(lost), [f"{ratio:.0%}" for ratio in ratios], cells, "sensitivities")
        yield "What pruning each layer alone costs, % of the score", _wide(drawn)
    whole = [(pin["layer"], pin["op"] or "", pin["reason"]) for pin in (prune or {}).get("pinned", ())]
    whole += [(skip["layer"], skip["type"], f"float: {skip['reason']}") for skip in (quant or {}).get("skipped", ())]
    if whole:
        rows = [[escape(str(cell)) for cell in row] for row in whole]
        yield "What stayed whole or float", _table(("layer", "operator or type", "why"), rows)


def kept(step: Mapping) -> str:
    """What the record of a pruning keeps of each layer: bars, and a table."""
    layers = [
        (
            layer["name"],
            layer["after"]["shape"],
            layer["before"]["shape"],
            layer["after"]["flops"],
            layer["before"]["flops"],
        )
        for layer in step["layers"]
        if layer["before"]["shape"]
    ]
    bars = [(name, after[0], before[0]) for name, after, before, _, _ in layers if len(before) > 2] or [
        (name, after[-1], before[-1]) for name, after, before, _, _ in layers
    ]
    rows = [
        [escape(name), _shape(before), _shape(after), _count(then), _count(now)]
        for name, after, before, now, then in layers
    ]
    table = _table(("layer", "weight before", "after", "multiply-adds before", "after"), rows)
    drawn = _wide(svg.kept_bars(bars, "channels kept by layer"))
    return (drawn if len(bars) <= _LONG else _folded("Drawing", drawn)) + _folded("Table", table)


def ranges(epochs: Sequence[Mapping]) -> str:
    """How far the range of each layer reaches, and the share of values beyond it, after each epoch of `Run.epochs`."""
    names = [name for name, _, _ in epochs[-1]["layers"]]
    columns = [f"{entry['epoch']}" for entry in epochs]
    parts = []
    for title, place, factor, unit in (("clipped share, %", 2, 100, "%"), ("alpha (the end of the range)", 1, 1, "")):
        by_name = [{row[0]: row[place] for row in entry["layers"]} for entry in epochs]
        cells = [[factor * found[name] if name in found else None for found in by_name] for name in names]
        drawn = _wide(svg.shaded(names, columns, cells, title, unit=unit))
        parts.append(
            f"<h3>By layer and epoch: {title}</h3>" + (drawn if len(names) <= _LONG else _folded("Drawing", drawn))
        )
    return "".join(parts)


def _record(run: Run) -> str:
    source = run.exported[0].description.source
    from_where = f", exported from {escape(source)}" if source else ""
    return _folded(f"Record of {escape(run.name)}{from_where}", _code(json.dumps(run.record, indent=1)))


def _label(row: Row, times: Sequence[Row]) -> str:
    alike = [other for other in times if (other.name, other.format) == (row.name, row.format)]
    return f"{row.name}, {row.format}" + (f" in {row.runtime}" if len(alike) > 1 else "")


def _heading(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    lines = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return _wide(f"<table><thead><tr>{titles}</tr></thead><tbody>\n{lines}\n</tbody></table>")


def _wide(content: str) -> str:
    return f'<div class="wide" tabindex="0">{content}</div>'


def _code(content: str) -> str:
    return f'<pre tabindex="0">{escape(content)}</pre>'


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>{content}</details>"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))

"""What the page tells of one network: how it was trained, what was cut, how it is rounded, what was exported."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from ppcls_compress.deploy import sessions
from ppcls_compress.report.charts import grids, kinds
from ppcls_compress.report.charts.drawing import Drawing
from ppcls_compress.report.page.html import Beside, Folded, Part, Section, code, count, note, shape, table
from ppcls_compress.report.page.runs import Run
from ppcls_compress.slim.record import Record, step_of

_LONG = 40
"""A drawing of more layers is folded away."""
_MOST_EPOCHS = 30
_LONGEST_RECORD = 400_000
"""Characters; of a longer one the page names the file."""


def sections(run: Run, *, named: bool) -> Iterator[Section]:
    """One for each thing that is known of a network; `named` says of which in its title."""
    of = f": {run.name}" if named else ""
    prune, quant = pruning(run.record), step_of(run.record, "quant")
    if prune is not None:
        yield Section(f"Channels kept{of}", kept(prune))
    if run.ranges:
        yield Section(f"Learned ranges{of}", ranges(run.ranges))
    if run.histograms:
        yield Section(f"Values on their grids{of}", histograms(run))
    if run.sensitivities:
        yield Section(f"What pruning each layer alone costs{of}", sensitivities(run.sensitivities))
    whole = [(pin["layer"], pin["op"] or "", pin["reason"]) for pin in (prune or {}).get("pinned", ())]
    whole += [(skip["layer"], skip["type"], f"float: {skip['reason']}") for skip in (quant or {}).get("skipped", ())]
    if whole:
        rows = [[escape(str(cell)) for cell in row] for row in whole]
        found = table(("layer", "operator or type", "why"), rows)
        content = found if len(rows) <= _LONG else Folded(f"{len(rows)} layers", [found])
        yield Section(f"What stayed whole or float{of}", [content])


def pruning(record: Record) -> Mapping | None:
    """What was cut from a network, as its record has it; of several iterations, from the first to the last."""
    found = [step for step in record["steps"] if step["kind"] == "prune"]
    if len(found) < 2:
        return found[0] if found else None
    first, last = found[0], found[-1]
    dense = {row["name"]: row["before"] for row in first["layers"]}
    layers = [{**row, "before": dense.get(row["name"], row["before"])} for row in last["layers"]]
    return {**last, "before": first["before"], "layers": layers}


def exported(run: Run, *, named: bool) -> Section:
    """The comparison of each file with the network that was trained, and what to know of each."""
    rows = []
    for item in run.exported:
        parity = item.description.parity
        accuracies = [parity.get(key) for key in ("accuracy_model", "accuracy_artifact")]
        layers = item.description.integer_layers
        rows.append(
            [
                escape(item.description.format),
                escape(sessions.title(item)),
                escape(str(parity.get("images", "not compared"))),
                *("" if value is None else f"{value:.2%}" for value in (parity.get("agreement"), *accuracies)),
                f"{parity['mean_difference']:.2g}" if "mean_difference" in parity else "",
                "" if layers is None else str(layers),
                f"{item.bytes / 1e6:.2f}",
            ]
        )
    head = ("format", "runs in", "compared on", "same answer", "right, trained", "right, exported", "logits differ by")
    known = [(item.description.format, line) for item in run.exported for line in item.description.notes]
    told = "".join(f"<li><b>{escape(name)}</b>: {escape(line)}</li>" for name, line in known)
    title = f"Exported files: {run.name}" if named else "Exported files"
    notes = [f'<ul class="notes">{told}</ul>'] if told else []
    return Section(title, [table((*head, "integer layers", "MB"), rows), *notes])


def kept(step: Mapping) -> list[Part]:
    """What the record of a pruning keeps of each layer: bars, and a table."""
    layers = [(layer["name"], layer["after"], layer["before"]) for layer in step["layers"] if layer["before"]["shape"]]
    bars = [
        (name, after["shape"][0], before["shape"][0]) for name, after, before in layers if len(before["shape"]) > 2
    ] or [(name, after["shape"][-1], before["shape"][-1]) for name, after, before in layers]
    rows = [
        [escape(name), shape(before["shape"]), shape(after["shape"]), count(before["flops"]), count(after["flops"])]
        for name, after, before in layers
    ]
    drawn = kinds.kept_bars(bars, "channels kept by layer")
    shown = drawn if len(bars) <= _LONG else [Folded(f"Drawing of {len(bars)} layers", [Beside(drawn)])]
    head = ("layer", "weight before", "after", "multiply-adds before", "after")
    return [*shown, Folded("Table", [table(head, rows)])]


def ranges(epochs: Sequence[Mapping]) -> list[Part]:
    """How far the range of each layer reaches, and the share of values beyond it, after each epoch."""
    shown = _some(epochs)
    names = [name for name, _, _ in epochs[-1]["layers"]]
    columns = [f"{entry['epoch']}" for entry in shown]
    drawings: list[Drawing] = []
    for title, place, factor, unit in (
        ("clipped share by layer and epoch, %", 2, 100, "%"),
        ("alpha, the end of the range, by layer and epoch", 1, 1, ""),
    ):
        by_name = [{row[0]: row[place] for row in entry["layers"]} for entry in shown]
        cells = [[factor * found[name] if name in found else None for found in by_name] for name in names]
        drawings += kinds.shaded_layers(names, columns, cells, title, kinds.Scale(unit))
    explained = note("The share of values that were clipped, in percent, and where the range ends, by layer and epoch.")
    shown = Beside(drawings)
    return [explained, shown if len(names) <= _LONG else Folded(f"Drawings of {len(names)} layers", [shown])]


def _some(epochs: Sequence[Mapping]) -> Sequence[Mapping]:
    """Not more epochs than can be told apart, the first and the last among them."""
    if len(epochs) <= _MOST_EPOCHS:
        return epochs
    step = (len(epochs) - 1) / (_MOST_EPOCHS - 1)
    return [epochs[round(index * step)] for index in range(_MOST_EPOCHS)]


def histograms(run: Run) -> list[Part]:
    """How weights and inputs lie on their grids, and where most lies beyond."""
    found = [(name, each) for name, _, each in run.histograms if each is not None]
    most = max(found, key=lambda item: item[1].clipped, default=None)
    told = "" if most is None else f" Most is clipped of what {escape(most[0])} reads: {most[1].clipped:.2%}."
    explained = note(
        "Counted after the last epoch on a few training images. The vertical lines are the ends of a grid, and what "
        f"lies beyond them is clipped; heights are logarithms of counts.{told}"
    )
    drawn = grids.histograms(run.histograms, f"weights and inputs of {run.name} on their grids")
    return [explained, Folded(f"Histograms of {len(run.histograms)} layers", [Beside(drawn)])]


def sensitivities(lost: Mapping[str, Mapping[float, float]]) -> list[Part]:
    """What the score loses where a layer alone is pruned, the layers in their order."""
    ratios = sorted({ratio for row in lost.values() for ratio in row})
    cells = [[100 * max(0.0, row[ratio]) if ratio in row else None for ratio in ratios] for row in lost.values()]
    drawn = kinds.shaded_layers(list(lost), [f"{ratio:.0%}" for ratio in ratios], cells, "score lost, %")
    told = note("Percent of the score that is lost, by the share of the layer's filters that is removed.")
    return [told, Beside(drawn)]


def record(run: Run) -> Folded:
    """What was done to a network, as it lies beside its weights; lists of indices as ranges."""
    source = run.exported[0].description.source if run.exported else ""
    title = f"Record of {run.name}" + (f", exported from {source}" if source else "")
    text = _LIST.sub(lambda found: _runs(found[0]), json.dumps(run.record, indent=1))
    if len(text) > _LONGEST_RECORD:
        text = f"{len(text):,} characters: see the .slim.json beside the weights, or slim.json beside an exported model"
    return Folded(title, [code(text)])


_LIST = re.compile(r"\[\s*\d+(?:,\s*\d+)*\s*\]")


def _runs(text: str) -> str:
    """`[0, 1, 2, 5]` as `[0-2, 5]` where it is long, else on one line."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    if len(numbers) <= 8:
        return f"[{', '.join(map(str, numbers))}]"
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return f"[{', '.join('-'.join(map(str, part)) for part in parts)}]"

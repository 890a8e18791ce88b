"""The page itself: what is known of some runs, written as one file of HTML that needs nothing else, and as pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from ppcls_compress import io, machine
from ppcls_compress.report.charts.palette import DARK, LIGHT, variables
from ppcls_compress.report.page import about, comparison, curves, searched
from ppcls_compress.report.page.comparison import Measured
from ppcls_compress.report.page.html import Section, cards, code
from ppcls_compress.report.page.runs import Run
from ppcls_compress.report.page.searched import Search
from ppcls_compress.slim.record import step_of


@dataclass(frozen=True, eq=False)
class Page:
    """What a page tells.

    Attributes:
        runs: the networks.
        commands: that made the page, beside those that the runs have kept.
        measured: what was measured of those that are exported; None shows what the runs have kept alone.
        search: that found the network; None without one.
    """

    runs: Sequence[Run]
    commands: Sequence[str]
    measured: Measured | None = None
    search: Search | None = None

    @property
    def title(self) -> str:
        """The names of the networks, where they are few."""
        names = [run.name for run in self.runs]
        return " and ".join(names) if len(names) < 3 else f"{len(names)} networks"

    def sections(self) -> Iterator[Section]:
        """Everything below the headline."""
        if self.search is not None:
            yield searched.section(self.search)
        if self.measured is not None:
            yield from comparison.sections(self.measured)
        named = len(self.runs) > 1
        yield from (about.exported(run, named=named) for run in self.runs if run.exported)
        trained = curves.section(self.runs)
        if trained is not None:
            yield trained
        for run in self.runs:
            yield from about.sections(run, named=named)
        lines = dict.fromkeys([*(line for run in self.runs for line in run.commands), *self.commands])
        yield Section("How this was made", [code("\n".join(lines)), *map(about.record, self.runs)])

    def headline(self) -> str:
        """The numbers that matter most."""
        if self.search is not None:
            return searched.headline(self.search)
        return _headline(self.runs[-1]) if self.measured is None else comparison.headline(self.measured)


def write(file: Path, page: Page) -> None:
    """Write a page, and its drawings as PNGs into `<name of the file>_pictures/` beside it.

    Args:
        file: is replaced whole; so are the pictures of an earlier one.
        page: what it tells.

    Raises:
        UserError: a file cannot be written.
    """
    found = list(page.sections())
    style = resources.files("ppcls_compress.report.page").joinpath("style.css").read_text(encoding="utf-8")
    style = style.replace("/* light */", variables(LIGHT)).replace("/* dark */", variables(DARK))
    links = "".join(f'<li><a href="#s{i}">{escape(section.title)}</a></li>' for i, section in enumerate(found))
    body = "\n".join(section.html().replace("<h2>", f'<h2 id="s{i}">', 1) for i, section in enumerate(found))
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page.title)}: compression report</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f'<header>\n<p class="soft">ppcls_compress, {escape(machine.cpu_name())}</p>\n'
        f"<h1>{escape(page.title)}</h1>\n</header>\n<main>\n{page.headline()}\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n{body}\n</main>\n</body>\n</html>\n'
    )
    with io.atomic(file) as partial:
        partial.write_text(text, encoding="utf-8")
    _pictures(file.with_name(f"{file.stem}_pictures"), found)


def _pictures(folder: Path, sections: Sequence[Section]) -> None:
    drawn = [drawing for section in sections for drawing in section.drawings()]
    if folder.is_dir():
        for earlier in folder.glob("[0-9][0-9]_*.png"):
            earlier.unlink()
    for number, drawing in enumerate(drawn, 1):
        name = re.sub(r"\W+", "_", drawing.title).strip("_")[:60]
        drawing.write_png(io.make_folder(folder) / f"{number:02}_{name}.png")


def _headline(run: Run) -> str:
    """What a run has kept tells of it without another evaluation."""
    found = [curves.best(run.history)] if run.history and curves.best(run.history) else []
    prune, quant = about.pruning(run.record), step_of(run.record, "quant")
    if prune is not None:
        found += [(f"{prune['after'][key] / prune['before'][key]:.0%}", f"of the {what}") for key, what in _COUNTED]
    if quant is not None:
        found.append(_bits(quant))
    agreements = [item.description.parity["agreement"] for item in run.exported if item.description.parity]
    if agreements:
        found.append((f"{min(agreements):.2%}", "of the answers as the trained network gives them"))
    if run.exported:
        found.append((f"{run.size / 1e6:.2f} MB", "on disk"))
    return cards(found) if found else ""


def _bits(quant: Mapping[str, Any]) -> tuple[str, str]:
    """On how many bits the layers of a record are, those that have rules of their own apart."""
    options = quant["options"]
    weights = "mixed" if quant.get("bits") else options["weight_bits"]
    ruled = any(rule.get(key) for rule in options.get("per_layer") or () for key in ("weight_bits", "activation_bits"))
    told = f"of weights and inputs in {len(quant['quantized'])} layers{', but for those of per_layer' if ruled else ''}"
    return f"{weights}/{options['activation_bits']} bits", told


_COUNTED = (("flops", "multiply-adds"), ("params", "parameters"))

"""Exported models side by side: latency, throughput, memory and size for every runtime, batch and number of threads."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from operator import attrgetter
from pathlib import Path

from rich.table import Table

from ppcls_compress import io, machine
from ppcls_compress.deploy import artifact, formats, sessions
from ppcls_compress.deploy.kinds import Runtime
from ppcls_compress.deploy.measure import latency
from ppcls_compress.engine.logs import logger
from ppcls_compress.errors import UserError
from ppcls_compress.report.charts.drawing import stacked
from ppcls_compress.report.charts.kinds import Timed, times
from ppcls_compress.report.printing import standard_output
from ppcls_compress.slim.record import step_of

_OPENVINO = "openvino"


@dataclass(frozen=True, eq=False)
class Entry:
    """One exported model in one runtime.

    Attributes:
        name: what the user calls the model.
        exported: the artifact.
        reduced: whether OpenVINO chooses the precision of what is not in integers.
        within: the name of the runtime; None for the format's own.
    """

    name: str
    exported: artifact.Artifact
    reduced: bool = False
    within: str | None = None

    @property
    def format(self) -> str:
        """The name of its format."""
        return self.exported.description.format

    @property
    def engine(self) -> str:
        """What runs it; one for a format and its companions."""
        kind = formats.get(self.format)
        kind = next((other for other in formats.FORMATS.values() if kind.name in other.companions), kind)
        return kind.runtime(self.within).title + (f", in place of {kind.elsewhere}" if kind.elsewhere else "")

    @property
    def runtime(self) -> str:
        """What runs it, and how where that is not as usual: `OpenVINO, bfloat16`."""
        manner = "own precision" if self.reduced else sessions.manner(self.exported, self.within)
        return ", ".join(filter(None, (self.engine, manner)))

    @property
    def rounds(self) -> bool:
        """Whether what is not in integers computes with fewer bits than float32 has."""
        runtime = formats.get(self.format).runtime(self.within)
        return self.reduced or runtime.rounds(sessions.setting(self.exported, self.within))

    @property
    def compression(self) -> str:
        """`dense`, `pruned`, `int8` or `pruned int8`; `int16` where weights of more than 8 bits are stored."""
        pruned = step_of(self.exported.record, "prune") is not None
        words = ["pruned"] * pruned
        if self.exported.integers:
            bits = step_of(self.exported.record, "quant")["options"]["weight_bits"]
            words.append("int8" if bits <= 8 else "int16")
        return " ".join(words) or "dense"

    @property
    def key(self) -> str:
        """Unlike that of any other entry."""
        return f"{self.name} ({self.format} in {self.runtime})"


@dataclass(frozen=True)
class Row:
    """One measurement, with two ratios to the first model.

    `speedup` is to its time in the same runtime, there in the same precision and format if it has one, or else its
    fastest; `over_fastest` to its fastest of all.
    """

    name: str
    compression: str
    format: str
    runtime: str
    threads: int
    batch: int
    median_ms: float
    p90_ms: float
    images_per_second: float
    peak_mb: float
    disk_mb: float
    speedup: float | None
    over_fastest: float

    @property
    def stands_in(self) -> bool:
        """Whether the runtime is there in place of the one that the file is for, of whose speed it says nothing."""
        return _is_for_elsewhere(self.format)


def _is_for_elsewhere(name: str) -> bool:
    return name in formats.FORMATS and bool(formats.FORMATS[name].elsewhere)


def fastest(rows: Sequence[Row], name: str) -> float:
    """Milliseconds of a model's fastest file; of one that is meant for another runtime only where there is no other."""
    own = [row for row in rows if row.name == name]
    return min(row.median_ms for row in [row for row in own if not row.stands_in] or own)


def entries(folders: Mapping[str, str | Path]) -> list[Entry]:
    """The exported models in some folders: of each folder's own format and of those in its sub-folders.

    Each is there once for every runtime of its format: its own, and those of the further ones that are installed and in
    which it did not fail the comparison with its model. Where the processor knows bfloat16, what OpenVINO runs in
    float32 is there a second time, in the precision that it chooses.

    Raises:
        MissingDependencyError: a runtime is not installed; says which extra brings it.
        UserError: a folder holds no artifact, one is damaged, or they take images of different shapes.
    """
    found = [
        Entry(name, exported, reduced, runtime.name)
        for name, folder in folders.items()
        for exported in _exported(Path(folder))
        for runtime in _runtimes(exported)
        for reduced in _precisions(exported, runtime)
    ]
    for entry in found:
        shapes = [list(item.exported.description.image_shape) for item in (found[0], entry)]
        if shapes[0] != shapes[1]:
            raise UserError(f"{entry.name}: takes images {shapes[1]}, {found[0].name} takes {shapes[0]}")
    return found


def _exported(folder: Path) -> Iterator[artifact.Artifact]:
    places = formats.places(folder)
    for line in artifact.strangers(folder, places):
        logger.warning("%s", line)
    present = [place for place in places.values() if (place / artifact.DESCRIPTION).is_file()]
    for place in present or [folder]:
        yield artifact.load(place)


def _runtimes(exported: artifact.Artifact) -> list[Runtime]:
    own, *further = formats.get(exported.description.format).runtimes
    own.require()
    chosen = [own]
    for runtime in further:
        refusal = sessions.refusal(exported, runtime.name)
        if refusal is not None:
            logger.info("%s: not timed in %s: it %s", exported.directory, runtime.title, refusal)
        elif runtime.installed:
            chosen.append(runtime)
    return chosen


def _precisions(exported: artifact.Artifact, runtime: Runtime) -> tuple[bool, ...]:
    choice = runtime.name == _OPENVINO and not sessions.setting(exported, runtime.name) and machine.has_bfloat16()
    return (False, True) if choice else (False,)


def measure(models: Sequence[Entry], *, threads: int, batch: int, rounds: int) -> list[Row]:
    """Time the models on random images, taking turns, each in a fresh process.

    Raises:
        UserError: a model does not run, or there are fewer cores than threads.
    """
    shape = [batch, *models[0].exported.description.image_shape]
    candidates = {item.key: latency.Candidate(item.exported.directory, item.reduced, item.within) for item in models}
    times = latency.measure(candidates, shape, threads=threads, rounds=rounds)
    first = {item: times[item.key].median_ms for item in models if item.name == models[0].name}
    here = [taken for item, taken in first.items() if not _is_for_elsewhere(item.exported.description.format)]
    rows = []
    for item in models:
        found = times[item.key]
        own = _reference(item, first)
        rows.append(
            Row(
                name=item.name,
                compression=item.compression,
                format=item.format,
                runtime=item.runtime,
                threads=threads,
                batch=batch,
                median_ms=round(found.median_ms, 4),
                p90_ms=round(found.p90_ms, 4),
                images_per_second=round(found.images_per_second, 2),
                peak_mb=round(found.peak_bytes / 1e6, 1),
                disk_mb=round(item.exported.bytes / 1e6, 3),
                speedup=None if own is None else round(own / found.median_ms, 3),
                over_fastest=round(min(here or first.values()) / found.median_ms, 3),
            )
        )
    return rows


def _reference(item: Entry, first: Mapping[Entry, float]) -> float | None:
    """What the first model takes in the runtime of an entry: run and written in the same way, or else its fastest."""
    there = {other: taken for other, taken in first.items() if other.engine == item.engine}
    for what in (attrgetter("runtime"), attrgetter("rounds"), attrgetter("format")):
        there = {other: taken for other, taken in there.items() if what(other) == what(item)} or there
    return min(there.values(), default=None)


def reference_note(models: Sequence[Entry]) -> str | None:
    """A line for the user if all ratios are to a quantized model, or None."""
    first = models[0]
    if not first.exported.integers or all(item.exported.integers for item in models):
        return None
    return f"all ratios are to {first.name}, which is quantized; for ratios to a float model give that one first"


def _has_integers(row: Row) -> bool:
    return "int" in row.compression


def slower_than_float(models: Sequence[Entry], rows: Sequence[Row]) -> list[str]:
    """A line for each model of integers that is slower than a float one of the same network in the same runtime.

    Where the runtime has no float one, the fastest of the other runtimes counts. Files for runtimes that are not here
    have no part in it.
    """
    network = {item.name: item.exported.description.model_name for item in models}
    lines, rows = [], [row for row in rows if not row.stands_in]
    for row in (row for row in rows if _has_integers(row)):
        floats = [
            other
            for other in rows
            if not _has_integers(other)
            and network[other.name] == network[row.name]
            and (other.threads, other.batch) == (row.threads, row.batch)
        ]
        floats = [other for other in floats if other.runtime == row.runtime] or floats
        fastest = min(floats, key=lambda other: other.median_ms, default=None)
        if fastest is not None and fastest.median_ms < row.median_ms:
            lines.append(
                f"{row.name} ({row.format}) in {row.runtime} is slower than float: {row.median_ms:.2f} ms, "
                f"{fastest.name} in {fastest.runtime} takes {fastest.median_ms:.2f} ms "
                f"(batch {row.batch}, {threads_told(row.threads)})"
            )
    return lines


def show(rows: Sequence[Row]) -> None:
    """Print the rows as tables on standard output, one for each number of threads and batch."""
    console = standard_output()
    for threads, batch in dict.fromkeys((row.threads, row.batch) for row in rows):
        table = Table(title=f"batch {batch}, {threads_told(threads)}", title_justify="left")
        for heading in ("model", "compression", "format", "runtime"):
            table.add_column(heading)
        for heading in ("median ms", "p90 ms", "images/s", "peak MB", "disk MB", "speed-up", "over fastest"):
            table.add_column(heading, justify="right")
        for row in rows:
            if (row.threads, row.batch) == (threads, batch):
                numbers = (row.median_ms, row.p90_ms, row.images_per_second, row.peak_mb, row.disk_mb)
                ratios = ("-" if ratio is None else f"{ratio:.2f}x" for ratio in (row.speedup, row.over_fastest))
                texts = (row.name, row.compression, row.format, row.runtime)
                table.add_row(*texts, *(f"{value:.2f}" for value in numbers), *ratios)
        console.print(table)


def threads_told(count: int) -> str:
    """`1 thread`, `2 threads`."""
    return f"{count} thread{'s' if count > 1 else ''}"


def write_csv(rows: Sequence[Row], file: Path) -> None:
    """Write the rows, a heading first; an empty field where the first model is not in a row's runtime."""
    with io.atomic(file) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [item.name for item in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def plot(rows: Sequence[Row], file: Path) -> None:
    """Draw the latencies (PNG), a chart for each number of threads and batch: medians, and whiskers to the p90.

    Raises:
        UserError: the file cannot be written.
    """
    charts = []
    for threads, batch in dict.fromkeys((row.threads, row.batch) for row in rows):
        found = [_timed(row) for row in rows if (row.threads, row.batch) == (threads, batch)]
        title = f"batch {batch}, {threads_told(threads)}, {machine.cpu_name()}"
        charts.append(times(found, title, [("float", "s0"), ("integers", "s1")]))
    stacked(charts, "latency").write_png(file)


def _timed(row: Row) -> Timed:
    name = f"{row.name}, {row.compression}, {row.format}, {row.runtime}"
    return Timed(name, row.median_ms, row.p90_ms, "s1" if _has_integers(row) else "s0")

"""What a folder of a run, or of exported models, holds that a page can show."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppcls_compress import io
from ppcls_compress.deploy import artifact, formats
from ppcls_compress.engine.hooks.distributions import FILE as DISTRIBUTIONS
from ppcls_compress.engine.hooks.history import COMMANDS
from ppcls_compress.engine.hooks.history import FILE as HISTORY
from ppcls_compress.engine.hooks.quantizers import FILE as QUANTIZERS
from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.slim import record as compression
from ppcls_compress.slim.prune.sensitivity import Status
from ppcls_compress.slim.quant import Distribution
from ppcls_compress.slim.record import Record
from ppcls_compress.text import read_text

_EXPORTS = "inference"
"""The folder in a run's own one that `Global.save_inference_dir` is called in the configurations that come along."""
_CHECKPOINTS = ("latest", "best_model", "quantized")


@dataclass(frozen=True)
class Epoch:
    """What became of an epoch, see `engine.hooks.history`."""

    number: int
    loss: float
    lr: float
    metrics: Mapping[str, float]
    evaluation: Mapping[str, float]
    main: str
    best_epoch: int


@dataclass(frozen=True, eq=False)
class Run:
    """A network: what was exported of it, and what its training left.

    Attributes:
        name: what the user calls it.
        folder: that the user named.
        exported: the artifacts; none where there is only what training left.
        record: what was done to the network.
        history: of its epochs; none where it was not trained here.
        ranges: what its quantizers were like after each epoch, {epoch, layers: [(name, limit, clipped share)]}; none
            where it was not quantized.
        histograms: (layer, weight, input) of each quantized layer; none where nobody counted.
        commands: that made it, as far as they were kept.
        sensitivities: {parameter: {ratio: share of the score that is lost}}, or nothing.
    """

    name: str
    folder: Path
    exported: Sequence[artifact.Artifact]
    record: Record
    history: Sequence[Epoch] = ()
    ranges: Sequence[Mapping[str, Any]] = ()
    histograms: Sequence[tuple[str, Distribution | None, Distribution | None]] = ()
    commands: Sequence[str] = ()
    sensitivities: Mapping[str, Mapping[float, float]] | None = None

    @property
    def size(self) -> int:
        """Bytes of its smallest artifact, all files counted."""
        return min(item.bytes for item in self.exported)


def find(name: str, folder: Path) -> Run:
    """The run in a folder: exported models, a run's `Global.output_dir`, or the folder of checkpoints in that.

    Raises:
        UserError: there is neither an exported model nor what training leaves, or a file is damaged.
    """
    exported = _exported(folder)
    found = of(name, folder, exported) if exported else trained(name, folder)
    if not exported and not found.history and not found.record["steps"]:
        raise ConfigError(
            f"report: {folder} holds no exported model, nor does its {_EXPORTS}/, and no run that was trained; "
            "ppcls-compress export_model writes one"
        )
    return found


def of(name: str, folder: Path, exported: Sequence[artifact.Artifact]) -> Run:
    """A network that is exported to a folder, and what is beside the weights that it comes from.

    Raises:
        UserError: a file is damaged.
    """
    source = exported[0].description.source
    home = Path(source).parent if source else folder
    places = [home, folder] if home.is_dir() else _homes(folder)[:1]
    return _run(name, folder, exported, exported[0].record, places)


def trained(name: str, folder: Path) -> Run:
    """What training left in a folder, whatever is exported there.

    Raises:
        UserError: a file is damaged, or there are several runs.
    """
    places = _homes(folder)
    if len(places) > 1:
        raise ConfigError(f"report: {folder} holds the runs {', '.join(place.name for place in places)}; name one")
    return _run(name, folder, (), _record(places), places)


def _run(name: str, folder: Path, exported: Sequence[artifact.Artifact], record: Record, places: Sequence[Path]) -> Run:
    quantized = compression.step_of(record, "quant") is not None
    return Run(
        name,
        folder,
        exported,
        record,
        history=_lines(places, HISTORY, _epoch),
        ranges=_lines(places, QUANTIZERS, _ranges) if quantized else (),
        histograms=_histograms(places) if quantized else (),
        commands=_commands(places),
        sensitivities=_sensitivities(places, record),
    )


def _exported(folder: Path) -> list[artifact.Artifact]:
    for place in (folder, folder / _EXPORTS):
        homes = [home for home in formats.places(place).values() if (home / artifact.DESCRIPTION).is_file()]
        if homes:
            return [artifact.load(home) for home in homes]
    return []


def _homes(folder: Path) -> list[Path]:
    """Where training left something: the folder itself, or else those in it."""
    names = (HISTORY, *(f"{name}.slim.json" for name in _CHECKPOINTS))
    if any((folder / name).is_file() for name in names):
        return [folder]
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    return [path for path in inside if any((path / name).is_file() for name in names)]


def _file(places: Sequence[Path], name: str) -> Path | None:
    return next((place / name for place in places if (place / name).is_file()), None)


def _record(places: Sequence[Path]) -> Record:
    """Of the checkpoint that was written last, `quantized` after training, say; without steps where there is none."""
    found = [path for name in _CHECKPOINTS if (path := _file(places, f"{name}.slim.json")) is not None]
    path = max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
    return compression.empty_record() if path is None else compression.check(io.read_json(path), path)


def _commands(places: Sequence[Path]) -> list[str]:
    file = _file(places, COMMANDS)
    return [] if file is None else read_text(file).splitlines()


def _lines(places: Sequence[Path], name: str, parse: Callable[[Mapping[str, Any]], Any]) -> list[Any]:
    """What stands in a file with a line of JSON for each epoch."""
    file, found = _file(places, name), []
    for number, line in enumerate(read_text(file).splitlines() if file else (), 1):
        try:
            found.append(parse(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{file}, line {number}: not what training writes there: {error}") from error
    return found


def _epoch(found: Mapping[str, Any]) -> Epoch:
    metrics, evaluation = (_finite(found[key]) for key in ("metrics", "evaluation"))
    chosen = (str(found["main"]), int(found["best_epoch"]))
    return Epoch(int(found["epoch"]), _number(found["loss"]), _number(found["lr"]), metrics, evaluation, *chosen)


def _finite(found: Mapping[str, Any]) -> dict[str, float]:
    """The values that can be drawn: a threshold, say, may be infinite."""
    return {str(name): float(value) for name, value in found.items() if math.isfinite(float(value))}


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is no number that can be drawn")
    return number


def _ranges(found: Mapping[str, Any]) -> Mapping[str, Any]:
    layers = [(row["layer"], _number(row["limit"] or 0), _number(row["clip_rate"] or 0)) for row in found["layers"]]
    return {"epoch": int(found["epoch"]), "layers": layers}


def _histograms(places: Sequence[Path]) -> list[tuple[str, Distribution | None, Distribution | None]]:
    file = _file(places, DISTRIBUTIONS)
    try:
        rows = [] if file is None else io.read_json(file)
        return [(str(row["layer"]), *(_distribution(row[key]) for key in ("weight", "input"))) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: not what training writes there: {error}") from error


def _distribution(found: Mapping[str, Any] | None) -> Distribution | None:
    if found is None:
        return None
    counts = tuple(int(count) for count in found["counts"])
    numbers = {key: _number(found[key]) for key in ("start", "end", "limit", "clipped")}
    whole = {key: int(found[key]) for key in ("low", "high", "bits")}
    if not counts or numbers["end"] <= numbers["start"] or whole["high"] <= whole["low"]:
        raise ValueError("a histogram without a width")
    return Distribution(counts, **numbers, **whole)


def _sensitivities(places: Sequence[Path], record: Record) -> Mapping[str, Mapping[float, float]]:
    """What `sensitivity` measured, by the criterion that pruned where a file holds several.

    Raises:
        UserError: the file is damaged.
    """
    file = _file([place / "sensitivity" for place in places], "sensitivity.json")
    prune = compression.step_of(record, "prune")
    criterion = "fpgm" if prune is None else prune["options"]["name"]
    return {} if file is None else Status(file, criterion).sensitivies

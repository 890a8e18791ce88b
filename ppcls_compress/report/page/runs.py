"""What a folder of a run, or of exported models, holds that a page can show."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppcls_compress.deploy import artifact, formats
from ppcls_compress.engine.hooks.quantizers import FILE as QUANTIZERS
from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.slim.prune.sensitivity import Status
from ppcls_compress.slim.record import Record
from ppcls_compress.text import read_text

_EXPORTS = "inference"
"""The folder in a run's own one that `Global.save_inference_dir` is called in the configurations that come along."""


@dataclass(frozen=True, eq=False)
class Run:
    """A network: what was exported of it, and what its training left.

    Attributes:
        name: what the user calls it.
        folder: that the user named.
        exported: the artifacts, at least one.
        epochs: what its quantizers were like after each epoch, see `quant.statistics`; none where it was not quantized.
    """

    name: str
    folder: Path
    exported: Sequence[artifact.Artifact]
    epochs: Sequence[Mapping[str, Any]]

    @property
    def record(self) -> Record:
        """What was done to the network."""
        return self.exported[0].record

    @property
    def size(self) -> int:
        """Bytes of its smallest artifact, all files counted."""
        return min(item.bytes for item in self.exported)


def find(name: str, folder: Path) -> Run:
    """The run in a folder: one with exported models, or a run's `Global.output_dir` with such a folder in it.

    Raises:
        UserError: there is no exported model, or one is damaged.
    """
    places = [folder, folder / _EXPORTS]
    for place in places:
        homes = [home for home in formats.places(place).values() if (home / artifact.DESCRIPTION).is_file()]
        if homes:
            exported = [artifact.load(home) for home in homes]
            return Run(name, folder, exported, epochs(folder, exported[0].description.source))
    raise ConfigError(
        f"report: {folder} holds no exported model, nor does its {_EXPORTS}/; tools/export_model.py writes one"
    )


def epochs(folder: Path, source: str | None) -> list[Mapping[str, Any]]:
    """The quantizers' file beside the weights that were exported, or else in the folder."""
    beside = [] if not source else [Path(source).parent / QUANTIZERS]
    for file in (*beside, *sorted(folder.glob(f"*/{QUANTIZERS}"))):
        if file.is_file():
            return [_epoch(line, file, number) for number, line in enumerate(read_text(file).splitlines(), 1)]
    return []


def _epoch(line: str, file: Path, number: int) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
        layers = [(row["layer"], float(row["limit"] or 0), float(row["clip_rate"] or 0)) for row in found["layers"]]
        return {"epoch": int(found["epoch"]), "layers": layers}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{file}, line {number}: not what training writes there: {error}") from error


def sensitivities(folder: Path) -> Mapping[str, Mapping[float, float]]:
    """What `sensitivity` measured for a run, {parameter: {ratio: share of the score that is lost}}, or nothing.

    Raises:
        UserError: the file is damaged.
    """
    files = sorted(folder.glob("*/sensitivity/sensitivity.json"))
    return Status(files[0], "fpgm").sensitivies if files else {}

"""The rows of `run_all.py`: which script, with which arguments, and what is read of what it leaves."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from peer_env import Missing, Peers

INT8_AIMS = {"ResNet50_vd": 3.4, "PPHGNet_small": 3.3, "MobileNetV3_large_x1_0": 2.0, "PPLCNet_x1_0": 1.6}
LAYOUTS = ("openvino", "ort")
NNCF = ("nncf performance", "nncf mixed")
CALIBRATIONS = ("float", *(f"ours, default, {layout}" for layout in LAYOUTS), "quantize_static", *NNCF)


@dataclass(frozen=True)
class Place:
    """Where rows run, and with what.

    Attributes:
        work: for logs and results.
        peers: interpreters by name.
        quick: whether fewer repetitions do.
        threads: of each process, or None for the script's own choice.
        weights: of the published network, or None.
        pages: its pages, or None.
    """

    work: Path
    peers: Peers
    quick: bool
    threads: int | None
    weights: Path | None
    pages: Path | None

    def json(self, name: str) -> Path:
        """Where a script writes its numbers; those of a quick run stand apart, as some scripts go on from them."""
        return self.work / f"{name}{'_quick' if self.quick else ''}.json"


@dataclass(frozen=True)
class Figure:
    """A number of the table.

    Attributes:
        what: which, over what.
        value: the number.
        least: what it is to be at least, or None.
        most: what it is to be at most, or None.
        beside: what peers have, in words.
    """

    what: str
    value: float
    least: float | None = None
    most: float | None = None
    beside: str = ""

    def as_dict(self) -> dict[str, object]:
        """With the aim in words and whether it is kept, None where there is none."""
        if self.least is not None:
            return {**asdict(self), "aim": f">= {self.least:g}", "kept": "yes" if self.value >= self.least else "no"}
        if self.most is not None:
            return {**asdict(self), "aim": f"<= {self.most:g}", "kept": "yes" if self.value <= self.most else "no"}
        return {**asdict(self), "aim": None, "kept": None}


@dataclass(frozen=True)
class Row:
    """A comparison.

    Attributes:
        name: for `--only`.
        script: in this folder.
        arguments: of the script.
        read: the figures, from what it wrote and printed.
    """

    name: str
    script: str
    arguments: Callable[[Place], list[str]]
    read: Callable[[Place, str], list[Figure]]


def _threads(place: Place) -> list[str]:
    return ["--threads", str(place.threads)] if place.threads else []


def _prune(place: Place) -> list[str]:
    peers = ["--paddleslim", place.peers["paddleslim"], "--torch-pruning", place.peers["torch-pruning"]]
    return [*peers, "--repeats", "1" if place.quick else "5", *_threads(place), "--out", str(place.json("prune"))]


def _read_prune(place: Place, _printed: str) -> list[Figure]:
    runs = json.loads(place.json("prune").read_text())["runs"]
    found = []
    for clock, told in (("total", "seconds"), ("cpu", "processor time")):
        own = statistics.median(run[clock] for run in runs["ours"])
        for side, least in (("paddleslim", 20.0), ("torch-pruning", 1.0)):
            other = statistics.median(run[clock] for run in runs[side])
            what, beside = f"FPGM on ResNet50, {told} of {side} over ours", f"{other:.2f} / {own:.2f} s"
            found.append(Figure(what, other / own, least if clock == "total" else None, beside=beside))
    return found


def _qat(place: Place) -> list[str]:
    return ["--rounds", "3" if place.quick else "15", *_threads(place), "--clock", "cpu" if place.threads else "wall"]


def _read_qat(_place: Place, printed: str) -> list[Figure]:
    rows = json.loads(printed.strip().splitlines()[-1])
    beside = f"PaddleSlim's {rows['paddleslim']['ratio']:.2f}"
    return [
        Figure(f"PACT step over a float step, grid {grid}", rows[grid]["ratio"], most=most, beside=beside)
        for grid, most in (("alpha", 1.06), ("moving_average", 1.10))
    ]


def _train(place: Place) -> list[str]:
    turns = ["--turns", "1"] if place.quick else ["--turns", "5"]
    return ["--paddleclas", place.peers["paddleclas"], *turns, *_threads(place), "--json", str(place.json("train"))]


def _read_train(place: Place, _printed: str) -> list[Figure]:
    found = json.loads(place.json("train").read_text())
    return [
        Figure(
            f"training images/s of {found['network']} over PaddleClas' engine, by the {clock}",
            found[clock]["ratio"],
            1.0,
            beside=f"{found[clock]['ours']:.1f} / {found[clock]['paddleclas']:.1f}",
        )
        for clock in ("clock", "processor")
    ]


def _data(place: Place) -> list[str]:
    checkout = place.peers.packages("paddleclas") / "PaddleClas"
    rounds = "20" if place.quick else "150"
    return ["--paddleclas", str(checkout), "--rounds", rounds, "--json", str(place.json("data"))]


def _read_data(place: Place, _printed: str) -> list[Figure]:
    return [
        Figure(
            f"images/s of a core, recipe {row['recipe']}, over PaddleClas' transforms",
            row["ratio"],
            1.5,
            beside=f"{row['ours']} / {row['theirs']}",
        )
        for row in json.loads(place.json("data").read_text())["results"]
    ]


def _int8(place: Place) -> list[str]:
    networks = ["PPLCNet_x1_0"] if place.quick else list(INT8_AIMS)
    rounds = ["--rounds", "10", "--batches", "1"] if place.quick else []
    return ["--networks", *networks, *rounds, *_threads(place), "--out", str(place.json("int8"))]


def _read_int8(place: Place, _printed: str) -> list[Figure]:
    found = []
    for network, kept in json.loads(place.json("int8").read_text())["networks"].items():
        for batch, times in kept["ms"].items():
            ratios = {
                label: times[f"{label.split(':')[0]}: float"] / taken
                for label, taken in times.items()
                if "int8" in label and "own precision" not in label and not label.startswith("Paddle")
            }
            own = max(ratio for label, ratio in ratios.items() if "stock" not in label)
            stock = ", ".join(f"{label} {ratio:.2f}" for label, ratio in ratios.items() if "stock" in label)
            what = f"{network}, batch {batch}: float32 over our integers, the better of two runtimes"
            found.append(Figure(what, own, INT8_AIMS[network], beside=stock))
    return found


def _pruned(place: Place) -> list[str]:
    few = ["--network", "PPLCNet_x1_0", "--keep", "0.5", "--batches", "1", "--rounds", "10"] if place.quick else []
    return [*few, *_threads(place), "--out", str(place.json("pruned"))]


def _read_pruned(place: Place, _printed: str) -> list[Figure]:
    found = json.loads(place.json("pruned").read_text())
    dense = found["flops"]["all"]
    return [
        Figure(
            f"fall of latency over that of multiply-adds, {form}, batch {batch}, {1 - flops / dense:.0%} gone",
            (1 - times[f"{name} {form}"] / times[f"all {form}"]) / (1 - flops / dense),
            0.8,
        )
        for batch, times in found["ms"].items()
        for name, flops in found["flops"].items()
        if name != "all"
        for form in ("float", "int8")
    ]


def _calibration(place: Place) -> list[str]:
    if place.weights is None or place.pages is None:
        raise Missing("--weights FILE and --pages DIR")
    given = ["--weights", str(place.weights), "--pages", str(place.pages), "--work", str(place.work / "published")]
    return [*given, "--peers", place.peers["nncf"], "--only", *CALIBRATIONS]


def _read_calibration(place: Place, _printed: str) -> list[Figure]:
    lines = (place.work / "published" / "cells.jsonl").read_text().splitlines()
    right = {cell["cell"]: np.array(list(cell["hard"]), int).mean() * 100 for cell in map(json.loads, lines)}
    best = max(right[name] for name in NNCF)
    beside = f"float {right['float']:.1f} %, NNCF's best {best:.1f} %, quantize_static {right['quantize_static']:.1f} %"
    found = []
    for layout in LAYOUTS:
        own = right[f"ours, default, {layout}"]
        what = f"hard pages, calibrated ({layout}) less"
        found.append(Figure(f"{what} float, points", own - right["float"], -0.5, beside=beside))
        found.append(Figure(f"{what} NNCF's best, points", own - best, 0.0))
    return found


ROWS = (
    Row("prune", "prune_speed.py", _prune, _read_prune),
    Row("qat", "pact_step_time.py", _qat, _read_qat),
    Row("train", "train_speed.py", _train, _read_train),
    Row("data", "transforms_speed.py", _data, _read_data),
    Row("int8", "int8_speed.py", _int8, _read_int8),
    Row("pruned", "pruned_latency.py", _pruned, _read_pruned),
    Row("calibration", "published_model.py", _calibration, _read_calibration),
)

"""Prune every network at two ratios, with and without alignment, and check each result in a second process.

    python benchmarks/pruning_matrix.py --results benchmarks/results/pruning_matrix.jsonl
    PADDLECLAS_DIR=... python benchmarks/pruning_matrix.py --results ... --only 'paddleclas:*'

A cell is (network, ratio, align). One process builds the network, prunes it with FPGM, runs it, trains one step, saves
and exports it; another builds the dense network again, masks it by the record, and compares; then rebuilds the pruned
structure from the record, loads the saved weights strictly and compares. A cell passes when

- pruned and masked dense outputs agree within 1e-5 (max |a - b| / max |b|),
- the reloaded network gives the saved network's outputs bit for bit, and the exported one within 1e-5,
  (a network that amplifies the rounding of single precision beyond that, `rounding`, is compared in double precision),
- the training step leaves every parameter finite and moves some.

Each finished cell is one JSON line in the results file. A cell that is there already is not run again, so a killed run
goes on where it stopped (`--retry` runs failed cells again). The last thing printed is a summary.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import paddleclas_zoo
from common import append, draw, emit, machine, read_results, run_child

ROOT = Path(__file__).resolve().parent.parent
RATIOS = (0.3, 0.7)
ALIGNS = (None, 8)
SHAPES = (*((3, size, size) for size in (64, 96, 112, 128, 224, 256, 299)), (1, 28, 28))
TOLERANCE = 1e-5
BATCH = 2


@dataclass(frozen=True)
class Cell:
    """One network under one request.

    Attributes:
        source: `native` (everything `models.build` knows, Paddle's own networks included) or `paddleclas`.
        name: the network's name there.
        ratio: the pruned ratio of every layer.
        align: channels are kept in multiples of this, or None.
    """

    source: str
    name: str
    ratio: float
    align: int | None

    @property
    def key(self) -> str:
        """How the cell is called in the results file and on the command line."""
        return f"{self.source}:{self.name}:{self.ratio}:{self.align or 1}"

    @property
    def prune_type(self) -> str:
        """Convolutions; linear layers too where some networks have no others that could shrink."""
        linear = (*paddleclas_zoo.HYBRIDS, "ConvNeXt_tiny", "MicroNet_M0")
        return "all" if self.name in linear or self.name.startswith("SwinTransformer") else "conv"


def cells() -> Iterator[Cell]:
    """Every cell that can run here, networks outermost."""
    from ppcls_compress.models import catalog

    networks = [("native", name) for name in catalog.names()]
    if paddleclas_zoo.directory():
        networks += [("paddleclas", name) for name in (*paddleclas_zoo.CNNS, *paddleclas_zoo.HYBRIDS)]
    for source, name in networks:
        for ratio in RATIOS:
            for align in ALIGNS:
                yield Cell(source, name, ratio, align)


def build(cell: Cell):
    """The cell's network with Paddle's initial weights."""
    if cell.source == "paddleclas":
        return paddleclas_zoo.build(cell.name, paddleclas_zoo.directory())
    from ppcls_compress import models

    return models.build(cell.name)


def images_of(shape: Sequence[int]):
    """A fixed batch."""
    import paddle

    return paddle.to_tensor(np.random.RandomState(0).randn(BATCH, *shape).astype(np.float32))


def outputs(model, shape: Sequence[int]) -> list[np.ndarray]:
    """Every output tensor for the fixed batch, in eval mode."""
    import paddle

    model.eval()
    with paddle.no_grad():
        found = model(images_of(shape))
    return [value.numpy() for value in paddle.utils.flatten(found)]


def smallest_input(model) -> tuple[int, int, int]:
    """The first image shape, [channels, height, width], that the network accepts.

    Raises:
        RuntimeError: it accepts none of them; the cause is its last complaint.
    """
    from ppcls_compress.slim.graph import capture_or_refuse

    problem: Exception | None = None
    for shape in SHAPES:
        try:
            capture_or_refuse(model, [[1, *shape]])
            found = outputs(model, shape)
        except Exception as error:
            # Whatever a network raises on an input that is too small, the next shape is tried.
            problem = error
        else:
            if all(value.size for value in found):
                return shape
    raise RuntimeError(f"no input of {SHAPES} works") from problem


def difference(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    """Largest max |a - b| / max |b| over the outputs; infinite when a shape differs or a value is not finite."""
    worst = 0.0
    for a, b in zip(found, wanted, strict=True):
        if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
            return float("inf")
        worst = max(worst, float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-12)))
    return worst


def give_weights(model, shape: Sequence[int]) -> None:
    """Drawn weights, so that scales and statistics are not all alike; the initial ones where that overflows."""
    initial = {key: value.numpy() for key, value in model.state_dict().items()}
    for key, value in model.state_dict().items():
        if "float32" in str(value.dtype):
            value.set_value(draw(key, value.shape))
    if not all(np.isfinite(value).all() for value in outputs(model, shape)):
        for key, value in model.state_dict().items():
            value.set_value(initial[key])


def state(model) -> dict[str, np.ndarray]:
    """The state dict as arrays."""
    return {key: value.numpy() for key, value in model.state_dict().items()}


def train_one_step(model, shape: Sequence[int]) -> str:
    """One Momentum step on the squared outputs; what went wrong, or ""."""
    import paddle

    model.train()
    before = {name: value.numpy() for name, value in model.named_parameters() if not value.stop_gradient}
    optimizer = paddle.optimizer.Momentum(1e-3, parameters=model.parameters())
    images = paddle.to_tensor(np.random.RandomState(1).randn(BATCH, *shape).astype(np.float32))
    values = paddle.utils.flatten(model(images))
    # Scaled, so that the size of the logits under drawn weights does not decide whether the step stays finite.
    loss = sum(((value / (value.abs().max().detach() + 1e-6)) ** 2).mean() for value in values)
    loss.backward()
    optimizer.step()
    after = {name: value.numpy() for name, value in model.named_parameters() if not value.stop_gradient}
    broken = [name for name, value in after.items() if not np.isfinite(value).all()]
    if broken:
        return f"not finite after a step: {broken[0]} and {len(broken) - 1} more"
    return "" if any((after[name] != before[name]).any() for name in before) else "a step changed nothing"


def whole_convolutions(model, record: dict) -> list[str]:
    """State-dict keys of convolution weights whose output channels were all kept."""
    import paddle

    axis = {paddle.nn.Conv2D: "0", paddle.nn.Conv2DTranspose: "1"}
    return [
        f"{name}.weight"
        for name, layer in model.named_sublayers()
        if type(layer) in axis and axis[type(layer)] not in record["kept"].get(f"{name}.weight", {})
    ]


def make(cell: Cell, directory: Path, *, initial: bool) -> dict[str, object]:
    """First process: prune, run, train, save, export; leaves its files in `directory`."""

    import paddle

    from ppcls_compress import io
    from ppcls_compress.slim.options.prune import PruneOptions
    from ppcls_compress.slim.prune import prune

    model = build(cell)
    shape = smallest_input(model)
    if not initial:
        give_weights(model, shape)
    io.write_state(directory / "dense.pdparams", state(model))
    options = PruneOptions(name="fpgm", pruned_ratio=cell.ratio, align=cell.align, prune_type=cell.prune_type)
    start = time.perf_counter()
    model, record = prune(model, options, [[1, *shape]])
    seconds = time.perf_counter() - start
    io.write_json(directory / "record.json", record)
    np.savez(directory / "pruned.npz", *outputs(model, shape))
    statistics = {key: value for key, value in state(model).items() if key.endswith(("_mean", "_variance"))}
    problem = train_one_step(model, shape)
    trained = outputs(model, shape)
    if not all(np.isfinite(value).all() for value in trained):
        # Two images say little about statistics; networks that multiply features by features overflow on them.
        for key, value in model.state_dict().items():
            if key in statistics:
                value.set_value(statistics[key])
        trained = outputs(model, shape)
    np.savez(directory / "trained.npz", *trained)
    io.write_state(directory / "trained.pdparams", state(model))
    free_batch = export(model, shape, str(directory / "inference"))
    exported = outputs(paddle.jit.load(str(directory / "inference")), shape)
    return {
        "shape": shape,
        "prune_seconds": round(seconds, 3),
        "params": [record["before"]["params"], record["after"]["params"]],
        "flops": [record["before"]["flops"], record["after"]["flops"]],
        "pinned": len(record["pinned"]),
        "whole": whole_convolutions(model, record),
        "train_problem": problem,
        "export_error": difference(exported, trained),
        "free_batch": free_batch,
    }


def export(model, shape: Sequence[int], prefix: str) -> bool:
    """Write the network; whether with a free batch size, which Paddle cannot trace for all.

    `nn.functional.fold` (MobileViTV2) asserts that the product of its input's dimensions is not negative, which one
    that is not known, -1, makes it.
    """
    import paddle

    from ppcls_compress.slim.tracing import save_program

    try:
        save_program(model, prefix, [paddle.static.InputSpec([None, *shape], "float32")])
    except AssertionError as error:
        if "number of elements" not in str(error):
            raise
        save_program(model, prefix, [paddle.static.InputSpec([BATCH, *shape], "float32")])
        return False
    return True


def check(cell: Cell, directory: Path, shape: Sequence[int]) -> dict[str, object]:
    """Second process: the masked dense network, then the structure rebuilt from the record."""
    from ppcls_compress import io
    from ppcls_compress.slim.prune import apply_record

    record = io.read_json(directory / "record.json")
    model = build(cell)
    dense = io.read_state(directory / "dense.pdparams")
    masked = {key: mask(np.array(value), record["kept"].get(key, {})) for key, value in dense.items()}
    model.set_state_dict(masked)
    exact = difference(load_arrays(directory / "pruned.npz"), outputs(model, shape))
    rounding = 0.0
    if exact <= TOLERANCE:
        model = apply_record(model, record)
    else:
        rounding, exact = exact, difference_in_double(model, record, shape)
    saved = io.read_state(directory / "trained.pdparams")
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    if shapes != {key: list(value.shape) for key, value in saved.items()}:
        return {"masked_error": exact, "rounding": rounding, "reload_error": float("inf")}
    model.set_state_dict(saved)
    return {
        "masked_error": exact,
        "rounding": rounding,
        "reload_error": difference(outputs(model, shape), load_arrays(directory / "trained.npz")),
    }


def difference_in_double(model, record, shape: Sequence[int]) -> float:
    """A masked network against what it is without the masked channels, which it stays, in double precision."""
    from ppcls_compress.slim.prune import apply_record
    from ppcls_compress.slim.prune.cut.verify import outputs_in_double

    masked = outputs_in_double(model, [images_of(shape)])
    return difference(outputs_in_double(apply_record(model, record), [images_of(shape)]), masked)


def mask(value: np.ndarray, kept: dict[str, list[int]]) -> np.ndarray:
    """Zero what is not kept on each axis."""
    for axis, indices in kept.items():
        gone = np.ones(value.shape[int(axis)], dtype=bool)
        gone[indices] = False
        value[(slice(None),) * int(axis) + (gone,)] = 0
    return value


def load_arrays(path: Path) -> list[np.ndarray]:
    """The arrays of an .npz in the order in which they were given."""
    with np.load(path) as found:
        return [found[f"arr_{index}"] for index in range(len(found.files))]


def run(cell: Cell, timeout: float) -> dict[str, object]:
    """The cell with drawn weights, or with Paddle's where the pruned network overflows on drawn ones."""
    result = attempt(cell, timeout, initial=False)
    if np.isfinite([float(result.get(key, 0.0)) for key in ("rounding", "reload_error", "export_error")]).all():
        return result
    return attempt(cell, timeout, initial=True)


def attempt(cell: Cell, timeout: float, *, initial: bool) -> dict[str, object]:
    """Both processes of a cell, judged."""
    start = time.perf_counter()
    result: dict[str, object] = {"cell": cell.key, **asdict(cell), "initial_weights": initial}
    with tempfile.TemporaryDirectory(prefix="pruning-matrix-") as directory:
        command = [
            sys.executable,
            "-W",
            "ignore",
            str(Path(__file__).resolve()),
            "--cell",
            cell.key,
            "--directory",
            directory,
            *(["--initial"] if initial else []),
        ]
        for stage in ("make", "check"):
            shape = ["--shape", *map(str, result["shape"])] if stage == "check" else []
            found, reason = run_child([*command, "--stage", stage, *shape], timeout=timeout)
            if found is None:
                return {**result, "status": "fail", "reason": f"{stage}: {reason}", "seconds": spent(start)}
            result.update(found)
    reason = judge(result)
    return {**result, "status": "fail" if reason else "pass", "reason": reason, "seconds": spent(start)}


def judge(result: dict[str, object]) -> str:
    """Why the cell does not pass, or ""."""
    limits = {
        "masked_error": TOLERANCE,
        "reload_error": 0.0,
        "export_error": TOLERANCE,
    }
    wrong = [f"{key} {result[key]:.2e}" for key, limit in limits.items() if not result[key] <= limit]
    if result["train_problem"]:
        wrong.append(str(result["train_problem"]))
    if result["params"][1] >= result["params"][0]:
        wrong.append("nothing was pruned")
    return ", ".join(wrong)


def spent(start: float) -> float:
    """Seconds since `start`, rounded."""
    return round(time.perf_counter() - start, 1)


def summary(results: dict[str, dict[str, object]]) -> str:
    """Counts by source and request, the worst error, and every failure with its reason."""
    lines = [
        machine(),
        f"{'source':12s}{'ratio':>6s}{'align':>6s}{'pass':>6s}{'fail':>6s}{'worst error':>13s}{'FLOPs left':>12s}",
    ]
    groups: dict[tuple, list[dict]] = {}
    for result in results.values():
        groups.setdefault((result["source"], result["ratio"], result["align"] or 1), []).append(result)
    for (source, ratio, align), found in sorted(groups.items()):
        count = Counter(result["status"] for result in found)
        passed = [result for result in found if result["status"] == "pass"]
        worst = max((result["masked_error"] for result in passed), default=float("nan"))
        left = (
            float(np.median([result["flops"][1] / result["flops"][0] for result in passed])) if passed else float("nan")
        )
        lines.append(f"{source:12s}{ratio:6.1f}{align:6d}{count['pass']:6d}{count['fail']:6d}{worst:13.1e}{left:12.3f}")
    lines += [f"FAIL {key}: {result['reason']}" for key, result in results.items() if result["status"] == "fail"]
    return "\n".join(lines) + "\n"


def parse_cell(key: str) -> Cell:
    """A cell from its key."""
    source, name, ratio, align = key.split(":")
    return Cell(source, name, float(ratio), None if align == "1" else int(align))


def main() -> int:
    """Run one stage (in a child), or every cell that is still to do."""
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "pruning_matrix.jsonl")
    parser.add_argument("--only", default="*", help="glob over source:name:ratio:align (align 1 is none)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for each of a cell's two processes")
    parser.add_argument("--retry", action="store_true", help="run failed cells again")
    parser.add_argument("--list", action="store_true", help="print the cells that are still to do, and stop")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stage", choices=("make", "check"), help=argparse.SUPPRESS)
    parser.add_argument("--initial", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--shape", type=int, nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        cell = parse_cell(arguments.cell)
        done = (
            make(cell, arguments.directory, initial=arguments.initial)
            if arguments.stage == "make"
            else check(cell, arguments.directory, arguments.shape)
        )
        emit(done)
        return 0
    results = read_results(arguments.results)
    skipped = {key for key, found in results.items() if found["status"] == "pass" or not arguments.retry}
    todo = [cell for cell in cells() if fnmatch.fnmatch(cell.key, arguments.only) and cell.key not in skipped]
    if arguments.list:
        sys.stdout.write("".join(f"{cell.key}\n" for cell in todo))
        return 0
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    for index, cell in enumerate(todo, start=1):
        result = run(cell, arguments.timeout)
        append(arguments.results, result)
        results[cell.key] = result
        sys.stderr.write(
            f"{index}/{len(todo)} {cell.key}: {result['status']} {result['reason']} ({result['seconds']} s)\n"
        )
    sys.stdout.write(summary(results))
    return 1 if any(result["status"] == "fail" for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

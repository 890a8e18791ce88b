"""One cell of the pruning matrix: what its three processes do. `pruning_matrix.py` starts them and judges."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddleclas_zoo
from common import draw

SHAPES = (*((3, size, size) for size in (64, 96, 112, 128, 224, 256, 299)), (1, 28, 28))
BATCH = 2
TOLERANCE = 1e-5


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


def halve_weights(model) -> None:
    """Weights of two and more axes become half of what they are: a network that multiplies features may overflow."""
    for value in model.parameters():
        if value.ndim > 1:
            value.set_value(value * 0.5)


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
    while not all(np.isfinite(value).all() for value in outputs(model, shape)):
        halve_weights(model)
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

    from ppcls_compress.errors import UserError
    from ppcls_compress.slim.tracing import save_program

    try:
        save_program(model, prefix, [paddle.static.InputSpec([None, *shape], "float32")])
    except UserError as error:
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


def compare_plans(cell: Cell, directory: Path, shape: Sequence[int]) -> dict[str, object]:
    """Third process: what the calls under PaddleSlim's names plan, mask and cut, each layer at a ratio of its own."""
    import paddle

    from ppcls_compress import io
    from ppcls_compress.errors import UserError
    from ppcls_compress.slim import FPGMFilterPruner, L1NormFilterPruner

    model = build(cell)
    model.set_state_dict(io.read_state(directory / "dense.pdparams"))
    ratios, axis = uneven(cell, model, paddle.nn.Conv2D), 0
    try:
        pruner = FPGMFilterPruner(model, [[1, *shape]])
        planned = pruner.prune_vars(ratios, axis, apply=None)
    except UserError:
        if cell.prune_type == "conv":
            raise
        # Some transformers have no convolution that can shrink; PaddleSlim's FPGM takes no linear layers.
        ratios, axis = uneven(cell, model, paddle.nn.Linear), 1
        pruner = L1NormFilterPruner(model, [[1, *shape]], prune_type="fc")
        planned = pruner.prune_vars(ratios, axis, apply=None)
    pruner.prune_vars(ratios, axis, apply="lazy")
    masked, masked_in_double = outputs(model, shape), outputs_in_double_of(model, shape)
    pruner.restore()
    cut = pruner.prune_vars(ratios, axis, apply="impretive")
    error = difference(outputs(model, shape), masked)
    rounding = 0.0
    if error > TOLERANCE:
        rounding, error = error, difference(outputs_in_double_of(model, shape), masked_in_double)
    same = [
        sorted(
            (name, mask.dims, np.asarray(mask.mask).tolist()) for name, masks in plan.masks.items() for mask in masks
        )
        for plan in (planned, cut)
    ]
    return {
        "lazy_error": error,
        "lazy_rounding": rounding,
        "plans_differ": same[0] != same[1] or planned.pruned_flops != cut.pruned_flops,
    }


def masks_of(plan) -> list[tuple[str, int, list[int]]]:
    """All masks of a plan, in an order that does not depend on how they came."""
    masks = [(name, mask.dims, np.asarray(mask.mask).tolist()) for name, found in plan.masks.items() for mask in found]
    return sorted(masks)


def uneven(cell: Cell, model, kind: type) -> dict[str, float]:
    """Up to twice the cell's ratio, at most 0.8, for every layer of a kind."""
    draws = np.random.RandomState(zlib.crc32(cell.key.encode()))
    names = [f"{name}.weight" for name, layer in model.named_sublayers() if isinstance(layer, kind)]
    return {name: round(min(0.8, cell.ratio * draws.uniform(0, 2)), 2) for name in names}


def outputs_in_double_of(model, shape: Sequence[int]) -> list[np.ndarray]:
    """Every output tensor for the fixed batch, in double precision."""
    from ppcls_compress.slim.prune.cut.verify import outputs_in_double

    return outputs_in_double(model, [images_of(shape)])


def difference_in_double(model, record, shape: Sequence[int]) -> float:
    """A masked network against what it is without the masked channels, which it stays, in double precision."""
    from ppcls_compress.slim.prune import apply_record

    masked = outputs_in_double_of(model, shape)
    return difference(outputs_in_double_of(apply_record(model, record), shape), masked)


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

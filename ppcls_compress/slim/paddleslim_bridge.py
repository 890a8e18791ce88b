"""PaddleSlim 2.6.0 as the judge of channels, on a Paddle it was not made for (`Slim.prune.backend: paddleslim`).

PaddleSlim traces the network and chooses; what it chose is applied and recorded like our own pruner's choice, so the
two can be compared in one process. Its breakages on Paddle 3 are mended only while it runs:

- it uses `paddle.base.dygraph.base._to_static_mode_guard_`, which has lost its underscores since;
- it reads the operators of Paddle's old programs, so the new representation is switched off;
- it calls `numpy.product`, which NumPy 2 has dropped;
- it leaves the process in static mode when it fails, and restarts the count of layer names always.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import paddle
from paddle.base.dygraph import base as dygraph_base

from ppcls_compress.errors import ConfigError, MissingDependencyError, UserError, unknown

PRUNERS = {"fpgm": "FPGMFilterPruner", "l1_norm": "L1NormFilterPruner", "l2_norm": "L2NormFilterPruner"}
"""Our criterion's name -> PaddleSlim's class."""

Removed = dict[str, dict[int, np.ndarray]]
"""State-dict name -> axis -> removed indices, ascending."""


@contextlib.contextmanager
def mended_paddle() -> Iterator[None]:
    """Paddle as PaddleSlim 2.6.0 expects it; undone on the way out, whatever happened.

    Raises:
        UserError: called in static mode.
    """
    if not paddle.in_dynamic_mode():
        raise UserError("backend: paddleslim works in dynamic mode; call paddle.disable_static() first")
    names = paddle.utils.unique_name.switch()
    try:
        with (
            _attribute(np, "product", np.prod),
            _attribute(dygraph_base, "_to_static_mode_guard_", dygraph_base.to_static_mode_guard),
            paddle.pir_utils.OldIrGuard(),
        ):
            yield
    finally:
        # The guard leaves static mode if it entered it; PaddleSlim may have entered it again and failed.
        if not paddle.in_dynamic_mode():
            paddle.disable_static()
        paddle.utils.unique_name.switch(*names)


@contextlib.contextmanager
def _attribute(owner: ModuleType, name: str, value: object) -> Iterator[None]:
    """Give a module an attribute that it lacks; one that it has is left alone."""
    if hasattr(owner, name):
        yield
        return
    setattr(owner, name, value)
    try:
        yield
    finally:
        delattr(owner, name)


def load() -> ModuleType:
    """The installed `paddleslim.dygraph`.

    Raises:
        MissingDependencyError: PaddleSlim, or something that it needs and does not declare, is not installed.
    """
    try:
        import paddleslim.dygraph
    except ImportError as error:
        raise MissingDependencyError(
            f"Slim.prune.backend: paddleslim: cannot import PaddleSlim ({error}); "
            "install the extra `paddleslim` in an environment of its own, because it needs NumPy < 2"
        ) from error
    return paddleslim.dygraph


def choose(
    model: paddle.nn.Layer, inputs: Sequence[Any], criterion: str, ratios: Mapping[str, float], *, axis: int = 0
) -> Removed:
    """What PaddleSlim would remove; the model is not changed.

    Args:
        model: traced in eval mode, which is undone.
        inputs: a shape, shapes, or tensors, as `FilterPruner` takes them.
        criterion: `fpgm`, `l1_norm` or `l2_norm`.
        ratios: state-dict name of a weight -> share of its filters to remove, in PaddleSlim's order of precedence.
        axis: the pruned axis of those weights.

    Raises:
        ConfigError: the criterion is not one of PaddleSlim's.
        UserError: PaddleSlim cannot trace the network, or contradicts the shapes of its parameters.
        MissingDependencyError: PaddleSlim is not installed.
    """
    if criterion not in PRUNERS:
        raise ConfigError("Slim.prune.name: " + unknown("criterion of backend paddleslim", criterion, PRUNERS))
    state = model.state_dict()
    modes = {layer: layer.training for layer in model.sublayers(include_self=True)}
    model.eval()
    try:
        masks = _masks(model, inputs, criterion, {state[name].name: ratio for name, ratio in ratios.items()}, axis)
    finally:
        for layer, training in modes.items():
            layer.training = training
    removed = {name: _indices(name, value.shape, masks.get(value.name, [])) for name, value in state.items()}
    return {name: axes for name, axes in removed.items() if axes}


def _masks(
    model: paddle.nn.Layer, inputs: Sequence[Any], criterion: str, ratios: Mapping[str, float], axis: int
) -> Any:
    """PaddleSlim's plan, by Paddle's parameter names."""
    slim = load()
    with mended_paddle():
        try:
            pruner = getattr(slim, PRUNERS[criterion])(model, inputs)
            return pruner.prune_vars(dict(ratios), axis, apply=None).masks
        except Exception as error:
            # PaddleSlim meets what it cannot prune with any exception, a bare AssertionError included.
            cause = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(f"Slim.prune.backend: paddleslim cannot prune this network: {cause}") from error


def _indices(name: str, shape: Sequence[int], masks: Sequence[Any]) -> dict[int, np.ndarray]:
    """Removed indices by axis out of PaddleSlim's masks of one parameter."""
    removed = {}
    for mask in masks:
        keep = np.asarray(mask.mask)
        if keep.all():
            continue
        if len(keep) != shape[mask.dims]:
            raise UserError(
                f"Slim.prune.backend: paddleslim cannot prune this network: its mask for axis {mask.dims} of {name} "
                f"has {len(keep)} entries, the axis has {shape[mask.dims]}"
            )
        removed[int(mask.dims)] = np.flatnonzero(keep == 0)
    return removed

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

from ppcls_compress.errors import ConfigError, MissingDependencyError, UserError, first_line, unknown
from ppcls_compress.slim.graph import inference_mode
from ppcls_compress.slim.inputs import Inputs, example
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune.choose.backends import BACKENDS
from ppcls_compress.slim.prune.cut.plan import Plan
from ppcls_compress.slim.prune.trace.channels import Channels, Group

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


def load(section: str = "Slim.prune") -> ModuleType:
    """The installed `paddleslim.dygraph`.

    Args:
        section: whose `backend` asks for it, for the message.

    Raises:
        MissingDependencyError: PaddleSlim, or something that it needs and does not declare, is not installed.
    """
    try:
        import paddleslim.dygraph
    except ImportError as error:
        raise MissingDependencyError(
            f"{section}.backend: paddleslim: cannot import PaddleSlim ({error}); "
            "install the extra `paddleslim` in an environment of its own, because it needs NumPy < 2"
        ) from error
    return paddleslim.dygraph


@BACKENDS.register("paddleslim")
def plan(
    model: paddle.nn.Layer,
    inputs: Inputs,
    channels: Channels,
    groups: list[Group],
    shares: Sequence[float],
    options: PruneOptions,
) -> Plan:
    """PaddleSlim's choice, as a plan of ours.

    Args:
        model: the network that `channels` were traced from.
        channels: which channels are the same, and which have to stay.
        groups: those of `channels` that may be pruned; PaddleSlim is asked about their layers and no others.
        shares: of each group's filters to remove.
        options: criterion and kind of layer.

    Raises:
        UserError: PaddleSlim cannot prune this network, or removes channels that have to stay.
        MissingDependencyError: PaddleSlim is not installed.
    """
    ratios = {
        member.origin.weight: share for group, share in zip(groups, shares, strict=True) for member in group.members
    }
    removed = choose(
        model, example(inputs), options.name, ratios, prune_type=options.prune_type.replace("auto", "conv")
    )
    roots = [
        _removable(channels, weight, axis, indices)
        for weight, axes in removed.items()
        for axis, indices in axes.items()
    ]
    return Plan(channels, channels.mask(roots))


def _removable(channels: Channels, weight: str, axis: int, indices: np.ndarray) -> np.ndarray:
    """Representative labels of these positions of a parameter's axis."""
    labels = channels.tracing.bindings.get((weight, axis))
    roots = channels.root[labels[indices]] if labels is not None else np.zeros(1, dtype=int)
    for root in roots.tolist():
        if root in channels.pinned:
            reason = channels.pinned[root].reason
            raise UserError(
                f"Slim.prune.backend: paddleslim removes channels of {weight} (axis {axis}) that have to stay: {reason}"
            )
    return roots


def choose(
    model: paddle.nn.Layer,
    inputs: Sequence[Any],
    criterion: str,
    ratios: Mapping[str, float],
    *,
    prune_type: str = "conv",
) -> Removed:
    """What PaddleSlim would remove; the model is not changed.

    Args:
        model: traced in eval mode, which is undone.
        inputs: a shape, shapes, or tensors, as `FilterPruner` takes them.
        criterion: `fpgm`, `l1_norm` or `l2_norm`.
        ratios: state-dict name of a weight -> share of its filters to remove, in PaddleSlim's order of precedence.
        prune_type: `conv`, or `fc` for the output axis of linear layers, which PaddleSlim's FPGM lacks.

    Raises:
        ConfigError: the criterion is not one of PaddleSlim's.
        UserError: PaddleSlim cannot trace the network, or contradicts the shapes of its parameters.
        MissingDependencyError: PaddleSlim is not installed.
    """
    if criterion not in PRUNERS:
        raise ConfigError("Slim.prune.name: " + unknown("criterion of backend paddleslim", criterion, PRUNERS))
    state = model.state_dict()
    by_parameter = {state[name].name: ratio for name, ratio in ratios.items()}
    slim = load()
    with inference_mode(model), mended_paddle():
        try:
            options = {"prune_type": prune_type} if prune_type == "fc" else {}
            pruner = getattr(slim, PRUNERS[criterion])(model, inputs, **options)
            masks = pruner.prune_vars(by_parameter, 1 if prune_type == "fc" else 0, apply=None).masks
        except Exception as error:
            # PaddleSlim meets what it cannot prune with any exception, a bare AssertionError included.
            raise UserError(f"Slim.prune.backend: paddleslim cannot prune this network: {first_line(error)}") from error
    removed = {name: _indices(name, value.shape, masks.get(value.name, [])) for name, value in state.items()}
    return {name: axes for name, axes in removed.items() if axes}


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

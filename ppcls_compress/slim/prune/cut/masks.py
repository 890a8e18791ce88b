"""Masks: which positions along an axis of a parameter stay, and what a set of them removes from a network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.prune.cut.plan import Plan
from ppcls_compress.slim.prune.cut.surgery import Kept, Surgery, refresh_sizes
from ppcls_compress.slim.prune.trace.channels import Channels

Masks = dict[str, dict[int, np.ndarray]]
"""Structured parameter name -> axis -> True for kept, one per position."""


def check_masks(masks: Masks, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Whether the masks fit parameters of these shapes.

    Raises:
        UserError: a parameter is unknown, it has no such axis or is of another length, or nothing of it would stay.
    """
    for name, axes in masks.items():
        if name not in shapes:
            raise UserError(f"mask of {name}: this network has no such parameter")
        shape = list(shapes[name])
        for axis, mask in axes.items():
            if not isinstance(axis, int) or not 0 <= axis < len(shape):
                raise UserError(f"mask of {name}: axis {axis!r} is none of the {len(shape)} of shape {shape}")
            if mask.shape != (shape[axis],):
                raise UserError(f"mask of {name}: {list(mask.shape)} entries for axis {axis} of shape {shape}")
            if not mask.any():
                raise UserError(f"mask of {name}: nothing of axis {axis} would stay")


def plan_of(channels: Channels, masks: Masks, decisive: Masks) -> Plan:
    """Removes the channels of which no mask keeps a position.

    Args:
        decisive: those of the masks that count alone for the channels they are about.
    """
    zero, kept = _touched(channels, masks)
    first_zero, first_kept = _touched(channels, decisive)
    decided = first_zero | first_kept
    gone = np.where(decided, first_zero & ~first_kept, zero & ~kept)
    gone[list(channels.pinned)] = False
    return Plan(channels, channels.mask([np.flatnonzero(gone)]))


def _touched(channels: Channels, masks: Masks) -> tuple[np.ndarray, np.ndarray]:
    """Representative label -> some mask removes a position of it, and -> some mask keeps one."""
    zero, kept = (np.zeros(len(channels.root), dtype=bool) for _ in range(2))
    for name, axes in masks.items():
        for axis, mask in axes.items():
            roots = channels.root[channels.tracing.bindings.get((name, axis), np.zeros(len(mask), dtype=np.int64))]
            zero[roots[~mask]] = True
            kept[roots[mask]] = True
    return zero, kept


def check_plan(plan: Plan, masks: Masks) -> None:
    """Whether a plan does what masks say.

    Raises:
        UserError: it cannot, since channels that one removes go together with others, or stay; or nothing would be left
            of a part that the network cuts its channels into.
    """
    if any(len(part) and not plan.keep[part].any() for part in plan.channels.tracing.parts):
        raise UserError(
            f"masks of {', '.join(masks)}: nothing would be left of what the network cuts out of these channels"
        )
    for name, axes in masks.items():
        for axis, mask in axes.items():
            labels = plan.channels.tracing.bindings.get((name, axis))
            done = np.ones(len(mask), dtype=bool) if labels is None else plan.keep[labels]
            if (wrong := np.flatnonzero(done != mask)).size:
                raise UserError(
                    f"mask of {name}, axis {axis}: position {wrong[0]} is {'removed' if mask[wrong[0]] else 'kept'} "
                    "with the channels that it goes together with; their masks have to be alike"
                )


def cut_alone(
    model: nn.Layer,
    tensors: Mapping[str, paddle.Tensor],
    kept: Kept,
    surgery: Surgery,
    optimizer: paddle.optimizer.Optimizer | None,
) -> None:
    """Cuts what is named and nothing else, for masks that no tracing has made: what reads it is not known.

    Raises:
        UserError: a grouped layer would be left with groups of different sizes.
    """
    layers = dict(model.named_sublayers(include_self=True))
    shapes = {name: list(tensors[name].shape) for name in kept}
    for name, axes in kept.items():
        layer = layers[name.rpartition(".")[0]]
        for attribute in ("_groups", "_num_groups"):
            groups = getattr(layer, attribute, 1)
            if groups > 1 and name.endswith("weight") and 0 in axes:
                surgery.set_attribute(layer, attribute, _groups_left(name, axes[0], shapes[name][0], groups))
    surgery.shrink(tensors, kept)
    refresh_sizes(surgery, layers)
    if optimizer is not None:
        surgery.shrink_states(optimizer, tensors, kept, shapes)


def _groups_left(name: str, indices: np.ndarray, size: int, groups: int) -> int:
    """How many groups there are once whole ones are removed, or equally many positions of each."""
    counts = np.bincount(indices // (size // groups), minlength=groups)
    left = counts[counts > 0]
    if (left != left[0]).any() or (len(left) < groups and left[0] != size // groups):
        raise UserError(f"mask of {name}: leaves {counts.tolist()} positions of its {groups} groups, not equally many")
    return len(left)

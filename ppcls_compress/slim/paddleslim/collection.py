"""What goes together in a network, as PaddleSlim's pruners and criteria see it, and what is chosen of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.prune.cut.plan import Plan
from ppcls_compress.slim.prune.trace.channels import Channels


@dataclass(frozen=True)
class LayerView:
    """What criteria written for PaddleSlim ask of an operator: `attr("groups")`, None for what the layer lacks."""

    layer: nn.Layer | None

    def attr(self, name: str) -> object:
        """The layer's number of this name."""
        return getattr(self.layer, f"_{name}", None)


@dataclass(frozen=True)
class Detail:
    """One pruned axis of one parameter, as a criterion may ask for it."""

    name: str
    axis: int
    op: LayerView


@dataclass(frozen=True)
class Collection:
    """Parameters that are pruned together.

    Attributes:
        master_name: Paddle's name of the parameter whose values decide.
        master_axis: its axis.
        values: Paddle's parameter name -> its values in the dense network, read-only.
        units: for each position along the master's axis the unit of pruning it belongs to, -1 for one that stays or
            is another collection's.
        roots: the representative label of each unit.
    """

    master_name: str
    master_axis: int
    values: Mapping[str, np.ndarray]
    units: np.ndarray
    roots: np.ndarray
    details: tuple[Detail, ...] = ()

    def variables(self) -> list[str]:
        """Names of all parameters of the collection."""
        return list(dict.fromkeys(detail.name for detail in self.details))

    def all_pruning_details(self) -> list[Detail]:
        """One entry for each parameter axis."""
        return list(self.details)


def collect(
    channels: Channels, values: Mapping[str, np.ndarray], layer_of: Callable[[str], LayerView]
) -> list[Collection]:
    """One collection for each group of channels.

    Args:
        values: Paddle's parameter name -> values in the dense network.
        layer_of: structured parameter name -> its layer.
    """
    tensors = channels.tracing.graph.tensors
    group_of = np.zeros(len(channels.root), dtype=np.int64)  # counted from one
    for index, group in enumerate(channels.groups):
        group_of[group.roots] = index + 1
    details: list[list[Detail]] = [[] for _ in channels.groups]
    for (name, axis), labels in channels.tracing.bindings.items():
        for index in np.flatnonzero(np.bincount(group_of[channels.root[labels]])[1:]).tolist():
            details[index].append(Detail(tensors[name].name, axis, layer_of(name)))
    collections = []
    for group, found in zip(channels.groups, details, strict=True):
        master = group.members[0]
        parameter = tensors[master.origin.weight].name
        collections.append(Collection(parameter, master.origin.axis, values, master.units, group.roots, tuple(found)))
    return collections


@dataclass
class Choice:
    """Parameters and ratios that were asked for, turned into a plan under whatever is known of the channels.

    Attributes:
        wanted: (Paddle's parameter name, ratio); what a parameter does not decide itself it is not asked about.
        axis: of the parameters.
        collections: channels -> what goes together.
        mask_of: (ratio, collection) -> 1 for each kept position of the master's axis, 0 for each removed one.
        ratios: (Paddle's parameter name, axis) -> the ratio that decided, of the last plan.
    """

    wanted: Iterable[tuple[str, float]]
    axis: int
    collections: Callable[[Channels], list[Collection]]
    mask_of: Callable[[float, Collection], np.ndarray]
    ratios: dict[tuple[str, int], float] = field(default_factory=dict)

    def __call__(self, channels: Channels) -> Plan:
        """The plan.

        Raises:
            UserError: a mask is of another length.
        """
        mine: dict[str, list[Collection]] = {}
        for collection in self.collections(channels):
            if collection.master_axis == self.axis:
                mine.setdefault(collection.master_name, []).append(collection)
        self.ratios.clear()
        removed = []
        for parameter, ratio in self.wanted:
            for collection in mine.pop(parameter, []):
                removed.append(_removed(channels, collection, np.asarray(self.mask_of(ratio, collection))))
                for detail in collection.details:
                    self.ratios.setdefault((detail.name, detail.axis), ratio)
        return Plan(channels, channels.mask(removed))


def _removed(channels: Channels, collection: Collection, mask: np.ndarray) -> np.ndarray:
    """Representative labels of the units whose every position the mask removes; at least one unit stays."""
    if mask.shape != collection.units.shape:
        expected = f"{len(collection.units)} entries for {collection.master_name}"
        raise UserError(f"cal_mask: expected {expected}, found {mask.shape}")
    ours = collection.units >= 0
    gone = np.setdiff1d(collection.units[ours & (mask == 0)], collection.units[ours & (mask != 0)])
    return collection.roots[gone[: len(collection.roots) - 1]]

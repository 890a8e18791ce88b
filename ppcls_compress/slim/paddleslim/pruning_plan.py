"""PaddleSlim's description of a pruning: what goes together, masks, applied by zeroing or cutting, restored."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.cost import upstream_flops
from ppcls_compress.slim.prune.cut.fitting import Network
from ppcls_compress.slim.prune.cut.history import History
from ppcls_compress.slim.prune.cut.masks import Masks, check_masks, check_plan, cut_alone, plan_of
from ppcls_compress.slim.prune.cut.plan import Plan
from ppcls_compress.slim.prune.cut.surgery import Surgery
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
        units: for each position along the master's axis the unit of pruning it belongs to, -1 for one that stays.
    """

    master_name: str
    master_axis: int
    values: Mapping[str, np.ndarray]
    units: np.ndarray
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
    group_of = np.full(len(channels.root), -1)
    for index, group in enumerate(channels.groups):
        group_of[group.roots] = index
    details: list[list[Detail]] = [[] for _ in channels.groups]
    for (name, axis), labels in channels.tracing.bindings.items():
        for index in np.unique(group_of[channels.root[labels]]).tolist():
            if index >= 0:
                details[index].append(Detail(tensors[name].name, axis, layer_of(name)))
    collections = []
    for group, found in zip(channels.groups, details, strict=True):
        master = group.members[0]
        parameter = tensors[master.origin.weight].name
        collections.append(Collection(parameter, master.origin.axis, values, master.units, tuple(found)))
    return collections


def collection_of(collections: list[Collection], parameter: str, axis: int) -> Collection | None:
    """That of a parameter which decides; of one whose channels fall into several groups they are joined."""
    own = [c for c in collections if (c.master_name, c.master_axis) == (parameter, axis)]
    if len(own) < 2:
        return own[0] if own else None
    units = np.full(len(own[0].units), -1)
    for collection in own:
        ours = collection.units >= 0
        units[ours] = collection.units[ours] + units.max() + 1
    details = tuple(detail for collection in own for detail in collection.details)
    return Collection(parameter, axis, own[0].values, units, details)


Bits = np.ndarray | list[int] | tuple[int, ...]


class PruningMask:
    """Which positions along one axis of a parameter stay.

    Attributes:
        dims: the axis.
        mask: 1 for kept, 0 for removed, one per position; a list stays a list, an array an array.
    """

    def __init__(self, dims: int, mask: Bits, ratio: float, op: object = None) -> None:
        self.dims = dims
        self.mask = mask
        self.ratio = ratio
        self.op = op

    def __str__(self) -> str:
        return f"{self.ratio}\t{self.dims}"


class PruningPlan:
    """Masks of parameters, and the way to apply them to the network they were made for and to undo that.

    The masks are what `apply` uses. One that was changed after the pruner had made the plan, or added, counts for all
    channels that go together with its own. A plan that no pruner made cuts just the parameters that it names.

    Attributes:
        masks: Paddle's parameter name -> one `PruningMask` per pruned axis.
    """

    def __init__(self, model_name: str | None = None, network: Network | None = None) -> None:
        self.model_name = model_name
        self.masks: dict[str, list[PruningMask]] = {}
        self.network = network
        self._made: dict[tuple[str, int], np.ndarray] = {}
        self._histories: dict[int, History] = {}

    @property
    def pruned_flops(self) -> float | None:
        """Share of the dense network's FLOPs that the masks remove; None for a plan that belongs to no network."""
        if self.network is None:
            return None
        graph = self.network.tracing.graph
        before, _ = upstream_flops(graph, graph.shapes)
        after, _ = upstream_flops(graph, self._choose(self.network.channels()).shapes())
        return (before - after) / before

    def add(self, var_name: str, pruning_mask: PruningMask) -> None:
        """Adds a mask; two masks on one axis keep what both keep, in the form of the first."""
        for mask in self.masks.setdefault(var_name, []):
            if mask.dims == pruning_mask.dims:
                mask.mask = _both(mask.mask, pruning_mask.mask)
                return
        self.masks[var_name].append(pruning_mask)

    def note_made(self) -> None:
        """The masks so far are a pruner's; those that differ later are the user's."""
        self._made = {(name, mask.dims): _bits(mask) for name, masks in self.masks.items() for mask in masks}

    def contains(self, var_name: str, dims: int | None = None) -> bool:
        """Whether the parameter is masked, on that axis when one is given."""
        return any(dims is None or mask.dims == dims for mask in self.masks.get(var_name, []))

    def extend(self, plan: PruningPlan) -> None:
        """Takes over another plan's masks."""
        for (name, axis), made in plan._made.items():
            if (name, axis) in self._made:
                self._made[name, axis] = self._made[name, axis] & made
            elif not self.contains(name, axis):
                self._made[name, axis] = made
        for name, masks in plan.masks.items():
            for mask in masks:
                self.add(name, PruningMask(mask.dims, copy.copy(mask.mask), mask.ratio, mask.op))
        self.network = self.network or plan.network

    def apply(
        self,
        model: nn.Layer,
        lazy: bool = False,
        opt: paddle.optimizer.Optimizer | None = None,
        prune_type: str = "conv",
        *,
        verify: bool = False,
    ) -> None:
        """Zeroes the removed channels on every parameter axis (`lazy`), or cuts them out.

        Args:
            opt: its accumulators and master weights are cut along.
            prune_type: accepted for PaddleSlim's callers; the plan knows its parameters.
            verify: compare the cut network with the dense one with zeroed channels, in a forward pass of each.

        Raises:
            UserError: the plan was made for another network, a mask does not fit, its channels were cut out before, or
                the network does not follow. Nothing is changed then.
        """
        if not self.masks:
            return
        network, inner = self._network_of(model), _inner(model)
        surgery = Surgery()
        left = None
        try:
            if network is None:
                self._apply_alone(inner, surgery, lazy=lazy, opt=opt, verify=verify)
            else:
                left = self._apply_traced(network, surgery, lazy=lazy, opt=opt, verify=verify)
            if not lazy:
                surgery.drop_gradients()
        except BaseException:
            surgery.undo()
            raise
        if network is None:
            self._histories.setdefault(id(inner), History(inner)).remember(surgery, opt)
        else:
            network.remember(surgery, left, opt)

    def restore(self, model: nn.Layer, opt: paddle.optimizer.Optimizer | None = None) -> None:
        """Puts the network back as it was before the first plan that its pruner applied, as PaddleSlim does.

        Plans that were applied before or after this one are undone with it, and so is what was trained since: sizes,
        all parameters and buffers, and, if the plans were applied with the optimizer, its accumulators, powers of beta
        and master weights have the same bits as then. A learning rate's schedule goes on.

        Args:
            opt: to be warned if it remembers what was not there then.

        Raises:
            UserError: the plan was made for another network, or another pruner has cut this one since.
        """
        done = self._network_of(model) or self._histories.get(id(_inner(model)))
        if done is not None:
            done.restore(opt)

    def _apply_traced(
        self,
        network: Network,
        surgery: Surgery,
        *,
        lazy: bool,
        opt: paddle.optimizer.Optimizer | None,
        verify: bool,
    ) -> np.ndarray | None:
        """Returns the mask over labels of what is left."""
        tensors = network.tracing.graph.tensors
        masks, decisive = self._by_structured_name(tensors)
        check_plan(self._choose(network.channels()), decisive)
        if lazy:
            surgery.mask(tensors, self._choose_next(network.channels()).cuts)
            return network.left
        shapes = {} if opt is None else {name: list(tensor.shape) for name, tensor in tensors.items()}
        plan, _ = network.fit(self._choose_next, surgery, verify=verify)
        if not plan.cuts and any(not mask.all() for axes in masks.values() for mask in axes.values()):
            raise UserError("nothing of this plan can be cut out: the network does not compute the same without it")
        if opt is not None:
            surgery.shrink_states(opt, tensors, plan.cuts, shapes)
        return plan.keep

    def _apply_alone(
        self, model: nn.Layer, surgery: Surgery, *, lazy: bool, opt: paddle.optimizer.Optimizer | None, verify: bool
    ) -> None:
        if verify:
            raise UserError("verify: this plan belongs to no pruner, which would know what goes together")
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        masks, _ = self._by_structured_name(tensors)
        check_masks(masks, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
        kept = {name: {axis: np.flatnonzero(mask) for axis, mask in axes.items()} for name, axes in masks.items()}
        if lazy:
            surgery.mask(tensors, kept)
        else:
            cut_alone(model, tensors, kept, surgery, opt)

    def _by_structured_name(self, tensors: Mapping[str, paddle.Tensor]) -> tuple[Masks, Masks]:
        """All masks, and those of them that no pruner made as they are."""
        names = {tensor.name: name for name, tensor in tensors.items()}
        found: Masks = {}
        own: Masks = {}
        for parameter, masks in self.masks.items():
            name = names.get(parameter, parameter)
            for mask in masks:
                bits = _bits(mask)
                found.setdefault(name, {})[mask.dims] = bits
                if not np.array_equal(bits, self._made.get((parameter, mask.dims))):
                    own.setdefault(name, {})[mask.dims] = bits
        return found, own

    def _choose(self, channels: Channels) -> Plan:
        """What the masks remove among the channels of their network."""
        masks, decisive = self._by_structured_name(channels.tracing.graph.tensors)
        check_masks(masks, self.network.dense_shapes())
        return plan_of(channels, masks, decisive)

    def _choose_next(self, channels: Channels) -> Plan:
        return self.network.after_earlier(self._choose(channels))

    def _network_of(self, model: nn.Layer) -> Network | None:
        if self.network is not None and self.network.model is not _inner(model):
            raise UserError("this pruning plan was made for another network")
        return self.network

    def __str__(self) -> str:
        rows = [f"{name}:\t{','.join(str(mask) for mask in masks)}" for name, masks in self.masks.items()]
        return "\n".join(["variable name\tpruned ratio\tpruned dims", *rows, f"pruned FLOPs: {self.pruned_flops}"])


def _bits(mask: PruningMask) -> np.ndarray:
    return np.asarray(mask.mask).astype(bool)


def _both(a: Bits, b: Bits) -> Bits:
    both = np.asarray(a).astype("int32") & np.asarray(b).astype("int32")
    return both if isinstance(a, np.ndarray) else type(a)(both.tolist())


def _inner(model: nn.Layer) -> nn.Layer:
    return model._layers if isinstance(model, paddle.DataParallel) else model

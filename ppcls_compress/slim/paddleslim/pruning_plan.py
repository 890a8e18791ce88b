"""PaddleSlim's description of a pruning: masks, applied by zeroing or cutting, restored."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.cost import upstream_flops
from ppcls_compress.slim.paddleslim.collection import Choice, LayerView
from ppcls_compress.slim.prune.cut.fitting import Network
from ppcls_compress.slim.prune.cut.history import History
from ppcls_compress.slim.prune.cut.masks import Masks, check_masks, check_plan, cut_alone, plan_of
from ppcls_compress.slim.prune.cut.plan import Plan
from ppcls_compress.slim.prune.cut.structure import Change
from ppcls_compress.slim.prune.cut.surgery import Surgery
from ppcls_compress.slim.prune.trace.channels import Channels

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


@dataclass(frozen=True)
class _Maker:
    """How a pruner made a plan.

    Attributes:
        layer_of: structured parameter name -> its layer.
    """

    choice: Choice
    plan: Plan
    layer_of: Callable[[str], LayerView]


class PruningPlan:
    """Masks of parameters, and the way to apply them to the network they were made for and to undo that.

    The masks are what `apply` uses. One that was changed after the pruner had made the plan, or added, counts for all
    channels that go together with its own. Once applied, the plan names what was done: all axes that a changed mask
    has taken along; or, after a warning, what it had to become because the network did not follow. A plan that no
    pruner made cuts just the parameters that it names.

    Attributes:
        masks: Paddle's parameter name -> one `PruningMask` per pruned axis.
    """

    def __init__(self, model_name: str | None = None, network: Network | None = None) -> None:
        self.model_name = model_name
        self.masks: dict[str, list[PruningMask]] = {}
        self.network = network
        self._made: dict[tuple[str, int], np.ndarray] = {}
        self._made_by: _Maker | None = None
        self._histories: dict[int, History] = {}

    @property
    def pruned_flops(self) -> float | None:
        """Share of the dense network's FLOPs that the masks remove; None for a plan that belongs to no network."""
        if self.network is None:
            return None
        graph = self.network.tracing.evaluation
        before, _ = upstream_flops(graph, graph.shapes)
        channels = self._made_by.plan.channels if self._is_as_made() else self.network.channels()
        after, _ = upstream_flops(graph, self._chooser()(channels).shapes())
        return (before - after) / before

    def add(self, var_name: str, pruning_mask: PruningMask) -> None:
        """Adds a mask; two masks on one axis keep what both keep, in the form of the first."""
        for mask in self.masks.setdefault(var_name, []):
            if mask.dims == pruning_mask.dims:
                mask.mask = _both(mask.mask, pruning_mask.mask)
                return
        self.masks[var_name].append(pruning_mask)

    def note_made(self, choice: Choice, chosen: Plan, layer_of: Callable[[str], LayerView]) -> None:
        """The masks of what a pruner chose; those that differ later are the user's.

        Args:
            choice: what it was asked for; asked again if the plan has to be made anew.
            layer_of: structured parameter name -> its layer.
        """
        self._made_by = _Maker(choice, chosen, layer_of)
        self._name(chosen)

    def _name(self, chosen: Plan) -> None:
        """Lets the masks say what a plan does."""
        graph = chosen.channels.tracing.graph
        shapes = self.network.dense_shapes()
        named: dict[str, list[PruningMask]] = {}
        for name, axes in chosen.kept.items():
            parameter = graph.tensors[name].name
            for axis, kept in axes.items():
                bits = np.zeros(shapes[name][axis], dtype="int32")
                bits[kept] = 1
                named.setdefault(parameter, []).append(self._mask(parameter, name, axis, bits))
        self.masks.clear()
        self.masks.update(named)
        self._made = {(name, mask.dims): _bits(mask) for name, masks in named.items() for mask in masks}

    def _mask(self, parameter: str, name: str, axis: int, bits: np.ndarray) -> PruningMask:
        """The mask that there is already with these bits in its own form, or a new one."""
        for mask in self.masks.get(parameter, []):
            if mask.dims == axis:
                mask.mask = _in_form(bits, mask.mask)
                return mask
        ratio = self._made_by.choice.ratios.get((parameter, axis)) if self._made_by else None
        layer = self._made_by.layer_of(name) if self._made_by else None
        return PruningMask(axis, bits, 1 - float(bits.mean()) if ratio is None else ratio, layer)

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
        self._made_by = None  # by nobody alone

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
        left, changes = None, []
        try:
            if network is None:
                self._apply_alone(inner, surgery, lazy=lazy, opt=opt, verify=verify)
            else:
                left, changes = self._apply_traced(network, surgery, lazy=lazy, opt=opt, verify=verify)
            if not lazy:
                surgery.drop_gradients()
        except BaseException:
            surgery.undo()
            raise
        if network is None:
            self._histories.setdefault(id(inner), History(inner)).remember(surgery, opt)
        else:
            network.remember(surgery, left, opt, changes)

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
    ) -> tuple[np.ndarray | None, list[Change]]:
        """Returns the mask over labels of what is left, and the attributes that were changed."""
        tensors, choose = network.tracing.graph.tensors, self._chooser()
        expected = choose(network.channels())
        check_plan(expected, self._decisive(tensors))
        changes: list[Change] = []
        left, shapes = network.left, {name: list(tensor.shape) for name, tensor in tensors.items()}
        if lazy:
            plan = network.sound(lambda channels: network.after_earlier(choose(channels)))
            surgery.mask(tensors, plan.cuts)
        else:
            plan, changes = network.fit(
                lambda channels: network.after_earlier(choose(channels)), surgery, verify=verify
            )
            left = plan.keep
        done = choose(plan.channels)
        if expected.kept and not done.kept:
            raise UserError("nothing of this plan can be cut out: the network does not compute the same without it")
        if opt is not None and not lazy:
            surgery.shrink_states(opt, tensors, plan.cuts, shapes)
        self._own_up(done, expected)
        return left, changes

    def _own_up(self, done: Plan, expected: Plan) -> None:
        """Lets the masks say what was done, and tells when it is not what they said."""
        said = expected
        if self._is_as_made():
            if done is self._made_by.plan:
                return
            said, self._made_by = self._made_by.plan, replace(self._made_by, plan=done)
        if not np.array_equal(said.keep, done.keep):
            warnings.warn(
                "this network does not do all that the plan said: it was made anew, and its masks are what was done",
                stacklevel=5,
            )
        self._name(done)

    def _apply_alone(
        self, model: nn.Layer, surgery: Surgery, *, lazy: bool, opt: paddle.optimizer.Optimizer | None, verify: bool
    ) -> None:
        if verify:
            raise UserError("verify: this plan belongs to no pruner, which would know what goes together")
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        masks = self._by_structured_name(tensors)
        check_masks(masks, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
        kept = {name: {axis: np.flatnonzero(mask) for axis, mask in axes.items()} for name, axes in masks.items()}
        if lazy:
            surgery.mask(tensors, kept)
        else:
            cut_alone(model, tensors, kept, surgery, opt)

    def _by_structured_name(self, tensors: Mapping[str, paddle.Tensor]) -> Masks:
        names = {tensor.name: name for name, tensor in tensors.items()}
        return {
            names.get(parameter, parameter): {mask.dims: _bits(mask) for mask in masks}
            for parameter, masks in self.masks.items()
        }

    def _decisive(self, tensors: Mapping[str, paddle.Tensor]) -> Masks:
        """Those masks that no pruner made as they are."""
        own: Masks = {}
        for name, axes in self._by_structured_name(tensors).items():
            parameter = tensors[name].name if name in tensors else name
            for axis, bits in axes.items():
                if not np.array_equal(bits, self._made.get((parameter, axis))):
                    own.setdefault(name, {})[axis] = bits
        return own

    def _is_as_made(self) -> bool:
        """Whether the masks are those that a pruner has made, all of them."""
        found = {(name, mask.dims): _bits(mask) for name, masks in self.masks.items() for mask in masks}
        if self._made_by is None or found.keys() != self._made.keys():
            return False
        return all(np.array_equal(found[key], self._made[key]) for key in found)

    def _chooser(self) -> Callable[[Channels], Plan]:
        """Channels -> what the masks remove of them; a pruner's are made anew for other channels than it knew."""
        if self._is_as_made():
            made = self._made_by
            return lambda channels: made.plan if channels is made.plan.channels else made.choice(channels)
        tensors = self.network.tracing.graph.tensors
        masks, decisive = self._by_structured_name(tensors), self._decisive(tensors)
        check_masks(masks, self.network.dense_shapes())
        return lambda channels: plan_of(channels, masks, decisive)

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
    return _in_form(np.asarray(a).astype("int32") & np.asarray(b).astype("int32"), a)


def _in_form(bits: np.ndarray, like: Bits) -> Bits:
    return bits if isinstance(like, np.ndarray) else type(like)(bits.tolist())


def _inner(model: nn.Layer) -> nn.Layer:
    return model._layers if isinstance(model, paddle.DataParallel) else model

"""PaddleSlim's filter pruners, under their names and with their arguments and results, on the traced channel labels."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.errors import UserError, unknown
from ppcls_compress.slim.inputs import Inputs, with_dtypes
from ppcls_compress.slim.paddleslim.arguments import check_apply, check_axis, check_filters, check_ratio
from ppcls_compress.slim.paddleslim.collection import Choice, Collection, LayerView, collect
from ppcls_compress.slim.paddleslim.pruning_plan import PruningPlan
from ppcls_compress.slim.paddleslim.recorded import recorded
from ppcls_compress.slim.prune.choose.selection import float_values
from ppcls_compress.slim.prune.choose.whole import refuse_all_whole
from ppcls_compress.slim.prune.cut.fitting import Network
from ppcls_compress.slim.prune.sensitivity import (
    Progress,
    Sensitivities,
    Status,
    aligned_ratio,
    bisect,
    checksum,
    measure,
)
from ppcls_compress.slim.prune.trace.channels import Channels
from ppcls_compress.slim.record import Record
from ppcls_compress.slim.strays import refuse_strays

_logger = logging.getLogger(__name__)

_OFF = 0.05
"""Share of the FLOPs by which a target may be missed without a warning."""


class FilterPruner:
    """Removes filters of single layers, with everything that is coupled to them.

    A new criterion is a subclass that overrides `cal_mask`. Filters are scored by the values they have when a plan is
    made, or had when they were cut (PaddleSlim: when the pruner was made).

    Args:
        model: pruned in place.
        inputs: a shape, a list of shapes, or tensors.
        sen_file: sensitivities measured before.
        opt: the optimizer whose states are pruned along.
        skip_leaves: layers whose channels are the network's outputs stay whole.
        prune_type: `conv` or `fc`.
        input_dtype: of inputs given as shapes.
        num_head: with `fc`, attention projections lose whole heads out of so many; -1 treats them like other layers.

    Raises:
        UserError: the network's forward pass fails, or weights that it reads are no part of the network, as those of
            layers in a plain list.
    """

    def __init__(
        self,
        model: nn.Layer,
        inputs: Inputs,
        sen_file: str | Path | None = None,
        opt: paddle.optimizer.Optimizer | None = None,
        skip_leaves: bool = True,
        prune_type: str = "conv",
        input_dtype: str = "float32",
        num_head: int = -1,
    ) -> None:
        if prune_type not in ("conv", "fc"):
            raise UserError(f"prune_type: {unknown('type', prune_type, ['conv', 'fc'])}")
        self.model = model
        self.inputs = inputs
        self.opt = opt
        self.skip_leaves = skip_leaves
        self.prune_type = prune_type
        self.num_head = num_head
        self.plan: PruningPlan | None = None
        self._criterion = getattr(self, "criterion", type(self).__name__)
        self._status = Status(sen_file, self._criterion)
        inner = model._layers if isinstance(model, paddle.DataParallel) else model
        given = with_dtypes(inputs, input_dtype)
        refuse_strays(inner, given)
        self.network = Network(inner, given, frozenset({prune_type}), grouped="reduce", outputs_stay=skip_leaves)
        self._names = {tensor.name: name for name, tensor in self.network.tracing.graph.tensors.items()}
        self._values = {p.name: float_values(p) for p in model.parameters() if len(p.shape) > 1}
        transposed = [layer for layer in model.sublayers() if isinstance(layer, nn.Conv2DTranspose)]
        self.skip_vars = [p.name for layer in transposed for p in layer.parameters()]
        self._layers = dict(inner.named_sublayers(include_self=True))
        self._collected: tuple[Channels, list[Collection]] | None = None
        for line in self._status.differences(self._measured()) if self._status.source else []:
            warnings.warn(f"{sen_file}: {line}", stacklevel=2)

    def cal_mask(self, pruned_ratio: float, collection: Collection, num_head: int = -1) -> np.ndarray:
        """1 for each kept position of the master's axis, 0 for each removed one. Subclasses define it."""
        raise TypeError(f"{type(self).__name__} does not define cal_mask")

    def prune_var(
        self,
        var_name: str,
        pruned_axis: int | list[int],
        pruned_ratio: float,
        apply: str | None = "impretive",
        *,
        verify: bool = False,
    ) -> PruningPlan | None:
        """Prunes one parameter and what is coupled to it.

        Args:
            var_name: Paddle's parameter name, the state-dict name, or a glob over state-dict names that means one.
            pruned_axis: 0 for the filters of a convolution, 1 for the outputs of a linear layer.
            pruned_ratio: share of the positions to remove, in [0, 1).
            apply: `impretive` cuts, `lazy` zeroes, None only plans.
            verify: compare the cut network with the dense one with zeroed channels, in a forward pass of each.

        Returns:
            The plan; empty when the parameter is not the first of its coupled ones; None for a transposed convolution.

        Raises:
            UserError: no parameter has this name, it belongs to a layer without filters, as a batch norm's, the axis,
                the ratio or `apply` is out of range, nothing of the network can be pruned, or an earlier plan has cut
                these filters out.
        """
        check_apply(apply)
        check_ratio(pruned_ratio)
        parameter = self._parameter(var_name)
        axis = self._axis(pruned_axis, [parameter])
        if parameter in self.skip_vars:
            _logger.warning("%s belongs to a transposed convolution and is not pruned directly", var_name)
            return None
        plan = self._plan([(parameter, pruned_ratio)], axis)
        self._apply(plan, apply, verify)
        return plan

    def prune_vars(
        self,
        ratios: Mapping[str, float],
        axis: int | list[int],
        apply: str | None = "impretive",
        *,
        verify: bool = False,
    ) -> PruningPlan:
        """Prunes several parameters, each by its ratio; one that an earlier one has pruned already is left out.

        Arguments and errors are those of `prune_var`. A warning tells where nothing is pruned: no parameter is named,
        or the ratios remove no filter.
        """
        check_apply(apply)
        if not isinstance(ratios, Mapping):
            raise UserError(f"ratios: expected {{parameter: ratio}}, found {ratios!r}")
        wanted = []
        for name, ratio in ratios.items():
            check_ratio(ratio)
            wanted.extend((parameter, ratio) for parameter in self._parameters(name))
        axis = self._axis(axis, [parameter for parameter, _ in wanted])
        plan = self._plan([pair for pair in wanted if pair[0] not in self.skip_vars], axis)
        self._apply(plan, apply, verify)
        if apply is not None and not plan.masks and (not ratios or any(ratios.values())):
            why = "the ratios remove no filter" if ratios else "no parameter is named"
            warnings.warn(f"prune_vars: nothing is pruned: {why}", stacklevel=2)
        self.plan = plan
        return plan

    def sensitive(
        self,
        eval_func: Callable[[], float] | None = None,
        sen_file: str | Path | None = None,
        target_vars: Iterable[str] | None = None,
        skip_vars: Iterable[str] = (),
        *,
        progress: Callable[[Progress], None] | None = None,
        about: Mapping[str, object] | None = None,
    ) -> Sensitivities:
        """Loss of the score when each layer alone is pruned by 0.1, 0.2 .. 0.9.

        Args:
            eval_func: score of the network as it is now.
            sen_file: JSON, rewritten after every measurement; what it holds of this criterion is not measured again,
                and what it holds of others stays.
            target_vars: only these parameters.
            skip_vars: not these.
            progress: called after every measurement, with the estimated time to the end.
            about: what else decides the score, as the number of images: strings and numbers, kept in the file.

        Raises:
            UserError: the file holds measurements of other weights or of something else `about`, or the score has
                changed since.
        """
        if eval_func is None and sen_file is None:
            return self._status.sensitivies
        if sen_file is not None and Path(sen_file).is_file():
            self._status.load(sen_file, self._criterion)
            self._status.check(self._measured() | dict(about or {}), sen_file)
        elif not self._status.sensitivies:
            self._status.source = self._measured() | dict(about or {})
        if not self._status.is_ckp or eval_func is None:
            return self._status.sensitivies
        skip = {self._parameter(name) for name in skip_vars} | set(self.skip_vars)
        targets = None if target_vars is None else {self._parameter(name) for name in target_vars}
        masters = dict.fromkeys(c.master_name for c in self.collections)
        names = [name for name in masters if name not in skip and (targets is None or name in targets)]

        def loss_of(name: str, ratio: float, base: float) -> float:
            with self.network.undone():
                self.prune_var(name, self._filter_axis, ratio)
                return float((base - eval_func()) / (base + 1e-3))

        measure(self._status, names, loss_of, eval_func, save_to=sen_file, progress=progress)
        self._status.is_ckp = targets is not None or bool(skip - set(self.skip_vars))
        if sen_file is not None:
            self._status.save(sen_file)
        return self._status.sensitivies

    def _measured(self) -> dict[str, object]:
        """What sensitivities depend on, as a `Status` keeps it."""
        return {"criterion": self._criterion, "weights": checksum(self.network.model.state_dict())}

    def get_ratios_by_sensitivity(
        self, pruned_flops: float, align: int | None = None, dims: int = 0, skip_vars: Iterable[str] = ()
    ) -> tuple[dict[str, float], float]:
        """Ratios with equal loss for each layer that together remove `pruned_flops` of the FLOPs, and what they remove.

        Args:
            align: kept numbers of filters are rounded to multiples of it.
            dims: the axis to prune; 0 means the outputs of linear layers too (`fc`), although they are on axis 1.
        """
        dims = dims or self._filter_axis
        shapes = {p.name: p.shape for p in self.model.parameters()}

        def aligned(ratios: dict[str, float]) -> dict[str, float]:
            if align is None:
                return ratios
            return {name: aligned_ratio(shapes[name][dims], ratio, align) for name, ratio in ratios.items()}

        def removed(ratios: dict[str, float]) -> float:
            return self.prune_vars(ratios, dims, apply=None).pruned_flops

        return bisect(self._status.sensitivies, pruned_flops, removed, align=aligned, skip=skip_vars, patient=False)

    def sensitive_prune(
        self, pruned_flops: float, skip_vars: Iterable[str] = (), align: int | None = None
    ) -> PruningPlan:
        """Prunes by the measured sensitivities until `pruned_flops` of the FLOPs are gone.

        PaddleSlim's search may stop off the target, with some sensitivities far off: a warning tells.

        Raises:
            UserError: nothing was measured, or not even one filter would go.
        """
        grouped = [s for s in self.model.sublayers() if isinstance(s, nn.Conv2D) and s._groups > 1]
        skip = [*skip_vars, *(p.name for layer in grouped for p in layer.parameters(include_sublayers=False))]
        self.restore()
        if not self._status.sensitivies:
            raise UserError("sensitive_prune: no sensitivities; call sensitive() first or give the pruner sen_file")
        ratios, found = self.get_ratios_by_sensitivity(pruned_flops, align=align, skip_vars=skip)
        if found <= 0 < pruned_flops:
            raise UserError(f"sensitive_prune: no filter would go, {pruned_flops:.1%} of the FLOPs were asked for")
        if abs(found - pruned_flops) > _OFF:
            warnings.warn(
                f"sensitive_prune removes {found:.1%} of the FLOPs where {pruned_flops:.1%} was asked", stacklevel=2
            )
        return self.prune_vars(ratios, self._filter_axis)

    def restore(self) -> None:
        """The network and its optimizer as before the first plan of this pruner, bit for bit; see `PruningPlan`.

        Raises:
            UserError: another pruner has cut the network since.
        """
        self.network.restore(self.opt)

    def record(self) -> Record:
        """What all plans have cut so far, as a compression record: plain JSON that rebuilds the structure.

        Example:
            >>> pruner.prune_vars({"conv2d_0.w_0": 0.3}, axis=0)
            >>> small = recipe.rebuild(fresh_dense_model, pruner.record())
        """
        return recorded(self.network, self._criterion)

    @property
    def _filter_axis(self) -> int:
        """Where a convolution's or a linear layer's outputs are."""
        return 0 if self.prune_type == "conv" else 1

    def _apply(self, plan: PruningPlan, apply: str | None, verify: bool) -> None:
        if verify and not self.skip_leaves:
            raise UserError("verify: outputs that lose channels (skip_leaves=False) cannot be compared")
        if apply is not None:
            plan.apply(self.model, lazy=apply == "lazy", opt=self.opt, prune_type=self.prune_type, verify=verify)

    def _parameters(self, name: str) -> list[str]:
        """Paddle's names of the parameters that a name or glob means."""
        if name in self._names:
            return [name]
        found = [paddle_name for paddle_name, structured in self._names.items() if fnmatchcase(structured, name)]
        if not found:
            raise UserError(unknown("parameter", name, [*self._names, *self._names.values()]))
        return found

    def _parameter(self, name: str) -> str:
        found = self._parameters(name)
        if len(found) > 1:
            raise UserError(f"{name!r} means {len(found)} parameters; prune_vars takes several")
        return found[0]

    def _axis(self, axis: int | list[int], parameters: list[str]) -> int:
        """The axis to prune; refuses one that does not exist, and what has no filters to give."""
        axis = axis[0] if isinstance(axis, list | tuple) and axis else axis
        channels = self.network.channels()
        refuse_all_whole(channels, self.network.kinds, [None] * len(channels.groups))
        names = [self._names[parameter] for parameter in parameters]
        check_filters(parameters, [self._layers[name.rpartition(".")[0]] for name in names])
        check_axis(axis, parameters, [len(self.network.tracing.graph.tensors[name].shape) for name in names])
        return axis

    def _plan(self, wanted: list[tuple[str, float]], axis: int) -> PruningPlan:
        """The masks that the ratios lead to."""
        choice = Choice(wanted, axis, self._collect, lambda *asked: self.cal_mask(*asked, num_head=self.num_head))
        plan = PruningPlan(self.model.full_name(), self.network)
        plan.note_made(choice, self.network.sound(choice), self._layer)
        return plan

    @property
    def collections(self) -> list[Collection]:
        """What goes together in the network."""
        return self._collect(self.network.channels())

    def _collect(self, channels: Channels) -> list[Collection]:
        if self._collected is None or self._collected[0] is not channels:
            self._collected = channels, collect(channels, self._values, self._layer)
        return self._collected[1]

    def _layer(self, name: str) -> LayerView:
        return LayerView(self._layers.get(name.rpartition(".")[0]))

"""`prune`: options in, a smaller network and the record of what was done out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import prod

import numpy as np
import paddle
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim.cost import Cost, cost_of, counted_parameters
from ppcls_compress.slim.graph import Inputs
from ppcls_compress.slim.options_prune import PruneOptions
from ppcls_compress.slim.prune.channels import Channels, Group
from ppcls_compress.slim.prune.fitting import Network
from ppcls_compress.slim.prune.plan import Plan
from ppcls_compress.slim.prune.record import write
from ppcls_compress.slim.prune.selection import Scorer, select, skipped
from ppcls_compress.slim.prune.structure import carry_out
from ppcls_compress.slim.prune.surgery import Surgery

KINDS = {"conv": frozenset({"conv"}), "fc": frozenset({"fc"}), "all": frozenset({"conv", "fc"})}


def prune(
    model: nn.Layer,
    options: PruneOptions,
    inputs: Inputs,
    *,
    optimizer: paddle.optimizer.Optimizer | None = None,
    latency: Callable[[nn.Layer], float] | None = None,
) -> tuple[nn.Layer, dict[str, object]]:
    """Removes channels from `model` in place and returns it with the record of what was done.

    Args:
        inputs: shapes of the network's inputs, `[[1, 3, 224, 224]]`, or InputSpecs or tensors.
        optimizer: its state for the pruned parameters is pruned along.
        latency: network -> milliseconds; needed for `target_latency_ms`.

    Raises:
        UserError: the forward pass fails, an option names what is not there, a target cannot be met, nothing can be
            pruned, or the pruned network does not equal the masked dense one. The model is then as it was.
    """
    inner = model._layers if isinstance(model, paddle.DataParallel) else model
    if options.target and options.target[0] == "latency_ms" and latency is None:
        raise UserError("target_latency_ms: needs a function that measures latency")
    skips = skipped(inner, options.skip)
    network = Network(inner, inputs, KINDS[options.prune_type])
    chooser = _Chooser(network, options, skips, latency)
    surgery = Surgery()
    try:
        plan, changes = network.fit(chooser.choose, surgery, verify=options.verify)
        if optimizer is not None:
            graph = network.tracing.graph
            dense = {name: graph.shapes[value] for value, name in graph.parameters.items()}
            surgery.shrink_states(optimizer, graph.tensors, plan.kept, dense)
    except BaseException:
        surgery.undo()
        raise
    surgery.drop_gradients()
    if model is not inner and getattr(model, "_reducer", None) is not None:
        model.init_reducer()
    pinned = whole_layers(plan.channels, network.kinds, skips)
    record = write(plan, options, changes, (chooser.cost(), chooser.cost(plan)), pinned)
    record["warnings"] = _shortfall(plan, options, network.kinds, pinned)
    for text in record["warnings"]:
        warnings.warn(text, stacklevel=2)
    return model, record


class _Chooser:
    """Plans for the network as it is known so far; scores are computed once per layer."""

    def __init__(
        self,
        network: Network,
        options: PruneOptions,
        skips: dict[str, str],
        latency: Callable[[nn.Layer], float] | None,
    ) -> None:
        self.network = network
        self.options = options
        self.skips = skips
        self.latency = latency
        self.scorer = Scorer(options)
        self.params = {id(p): prod(p.shape) for p in counted_parameters(network.model)}

    def choose(self, channels: Channels) -> Plan:
        """The plan the options ask for.

        Raises:
            UserError: no channel can be removed, or none is by these options.
        """
        groups = [g for g in channels.groups if len(g) > 1 and not _skip_rule(g, self.skips)]
        if not groups:
            causes = _causes(whole_layers(channels, self.network.kinds, self.skips))
            raise UserError(f"no layer of this network can be pruned{causes}")
        plan = self._select(channels, groups)
        if not plan.kept:
            raise UserError(
                f"pruning would change nothing: {self._amount()} of {len(groups)} groups rounds to no channel"
            )
        return plan

    def _select(self, channels: Channels, groups: list[Group]) -> Plan:
        if self.options.backend == "native":
            return select(self.scorer.score(channels, groups), self.options, self._measure)
        # Here, because most people do not have PaddleSlim and never come this way.
        from ppcls_compress.slim import paddleslim_bridge

        return paddleslim_bridge.plan(self.network.model, self.network.inputs, channels, groups, self.options)

    def _amount(self) -> str:
        target = self.options.target
        return f"target_{target[0]} {target[1]}" if target else f"pruned_ratio {self.options.ratio}"

    def cost(self, plan: Plan | None = None) -> Cost:
        """Of the dense network, or of what a plan leaves."""
        graph = self.network.tracing.graph
        dense = sum(self.params.values())
        if plan is None:
            return cost_of(graph, graph.shapes, dense)
        shapes = plan.shapes()
        saved = 0
        for value, name in graph.parameters.items():
            if name in plan.kept and id(graph.tensors[name]) in self.params:
                saved += prod(graph.shapes[value]) - prod(shapes[value])
        return cost_of(graph, shapes, dense - saved)

    def _measure(self, plan: Plan) -> float:
        name = self.options.target[0]
        if name != "latency_ms":
            return getattr(self.cost(plan), name) / getattr(self.cost(), name)
        surgery = Surgery()
        try:
            carry_out(self.network.model, self.network.inputs, plan, surgery)
            return self.latency(self.network.model)
        finally:
            surgery.undo()


def _skip_rule(group: Group, skips: dict[str, str]) -> str | None:
    """The rule by which a group stays, because it names a layer of the group or a layer around one."""
    for member in group.members:
        path = member.origin.owner
        while True:
            if path in skips:
                return skips[path]
            if "." not in path:
                break
            path = path.rpartition(".")[0]
    return None


def whole_layers(channels: Channels, kinds: frozenset[str], skips: dict[str, str]) -> list[dict[str, str]]:
    """Layers that keep all output channels, each with the operator and the reason."""
    reasons: dict[str, tuple[str, str]] = {}
    for group in channels.groups:
        rule = _skip_rule(group, skips)
        for member in group.members:
            if rule is not None:
                reasons[member.origin.weight] = ("skip", f"skip: {rule}")
            elif len(group) == 1:
                reasons.setdefault(member.origin.weight, ("", "all of its channels must go together"))
            else:
                reasons[member.origin.weight] = ("", "")
    found = []
    for origin in channels.tracing.origins.values():
        if origin.kind not in kinds:
            continue
        op, reason = reasons.get(origin.weight, ("", ""))
        if origin.weight not in reasons:
            pin = next(channels.pinned[int(r)] for r in channels.root[origin.labels] if int(r) in channels.pinned)
            op, reason = pin.op, pin.reason
        if reason:
            found.append({"layer": origin.owner, "op": op, "reason": reason})
    return found


def _causes(pinned: list[dict[str, str]]) -> str:
    counts: dict[str, int] = {}
    for entry in pinned:
        text = f"{entry['op']}: {entry['reason']}" if entry["op"] else entry["reason"]
        counts[text] = counts.get(text, 0) + 1
    return "; ".join(["", *(f"{text} ({n} layers)" for text, n in sorted(counts.items(), key=lambda c: -c[1])[:5])])


def _shortfall(plan: Plan, options: PruneOptions, kinds: frozenset[str], pinned: list[dict[str, str]]) -> list[str]:
    """One warning when less than half of the asked share of channels was removed."""
    if options.target is not None or not isinstance(options.ratio, int | float):
        return []
    labels = [o.labels for o in plan.channels.tracing.origins.values() if o.kind in kinds]
    achieved = 1 - float(np.mean(plan.keep[np.concatenate(labels)]))
    if achieved >= options.ratio / 2:
        return []
    return [f"pruned {achieved:.0%} of the channels where {options.ratio:.0%} was asked{_causes(pinned)}"]

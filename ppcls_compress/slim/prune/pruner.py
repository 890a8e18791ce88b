"""`prune`: options in, a smaller network and the record of what was done out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from math import prod

import paddle
from paddle import nn

from ppcls_compress.errors import ConfigError, UserError
from ppcls_compress.slim.cost import Cost, cost_of, counted_parameters
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune.choose.backends import BACKENDS
from ppcls_compress.slim.prune.choose.selection import Scorer, glob_of, group_ratios, still_to_remove
from ppcls_compress.slim.prune.choose.skips import rules_of, skipped
from ppcls_compress.slim.prune.choose.stage import Stage
from ppcls_compress.slim.prune.choose.target import select
from ppcls_compress.slim.prune.choose.whole import Hold, causes, refuse_all_whole, whole_layers
from ppcls_compress.slim.prune.cut.fitting import Network
from ppcls_compress.slim.prune.cut.plan import Plan
from ppcls_compress.slim.prune.cut.structure import carry_out
from ppcls_compress.slim.prune.cut.surgery import Surgery
from ppcls_compress.slim.prune.record import write
from ppcls_compress.slim.prune.trace.channels import Channels, Group
from ppcls_compress.slim.prune.trace.context import Origin

KINDS = {
    "auto": frozenset({"conv"}),
    "conv": frozenset({"conv"}),
    "fc": frozenset({"fc"}),
    "all": frozenset({"conv", "fc"}),
}


def prune(
    model: nn.Layer,
    options: PruneOptions,
    inputs: Inputs,
    *,
    optimizer: paddle.optimizer.Optimizer | None = None,
    latency: Callable[[nn.Layer], float] | None = None,
    earlier: Sequence[Mapping[str, object]] = (),
) -> tuple[nn.Layer, dict[str, object]]:
    """Removes channels from `model` in place and returns it with the record of what was done.

    Args:
        inputs: shapes of the network's inputs, `[[1, 3, 224, 224]]`, or InputSpecs or tensors.
        optimizer: its state for the pruned parameters is pruned along.
        latency: network -> milliseconds; needed for `target_latency_ms`.
        earlier: records of the steps that `iterative` has taken so far; this call takes the next one.

    Raises:
        UserError: the forward pass fails, an option names what is not there, a target cannot be met, nothing can be
            pruned, or the pruned network does not equal the masked dense one. The model is then as it was.
    """
    inner = model._layers if isinstance(model, paddle.DataParallel) else model
    if options.target and options.target[0] == "latency_ms" and latency is None:
        raise ConfigError("target_latency_ms: needs a function that measures latency")
    stage = Stage.of(options, earlier)
    grouped = "reduce" if options.scope == "layer" else "auto"
    network = Network(inner, inputs, KINDS[options.prune_type], grouped=grouped)
    if options.prune_type == "auto" and options.backend == "native" and not network.channels().groups:
        network = Network(inner, inputs, KINDS["all"], grouped=grouped)
    chooser = _Chooser(network, options, stage, latency)
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
    pinned = whole_layers(plan.channels, network.kinds, chooser.holds(plan.channels))
    record = write(plan, options, changes, (chooser.cost(), chooser.cost(plan)), pinned)
    record["warnings"] = _shortfalls(plan, options, stage, network.kinds, pinned)
    for text in record["warnings"]:
        warnings.warn(text, stacklevel=2)
    return model, record


def cost_left(network: Network, plan: Plan | None = None) -> Cost:
    """Of a network as it was traced, or of what a plan leaves of it; whatever was cut out of it meanwhile."""
    graph, evaluation = network.tracing.graph, network.tracing.evaluation
    traced = {id(graph.tensors[name]): graph.shapes[value] for value, name in graph.parameters.items()}
    sizes = {id(p): prod(traced.get(id(p), p.shape)) for p in counted_parameters(network.model)}
    dense = sum(sizes.values())
    if plan is None:
        return cost_of(evaluation, graph.shapes, dense)
    shapes = plan.shapes()
    saved = 0
    for value, name in graph.parameters.items():
        if name in plan.kept and id(graph.tensors[name]) in sizes:
            saved += prod(graph.shapes[value]) - prod(shapes[value])
    return cost_of(evaluation, shapes, dense - saved)


class _Chooser:
    """Plans for the network as it is known so far; scores are computed once per layer."""

    def __init__(
        self,
        network: Network,
        options: PruneOptions,
        stage: Stage,
        latency: Callable[[nn.Layer], float] | None,
    ) -> None:
        self.network = network
        self.options = options
        self.stage = stage
        self.skips = skipped(network.model, options.skip, network.tracing)
        self.latency = latency
        self.scorer = Scorer(options, network.tracing, stage)

    def choose(self, channels: Channels) -> Plan:
        """The plan the options ask for.

        Raises:
            UserError: no channel can be removed, or none is by these options.
        """
        holds = self.holds(channels)
        refuse_all_whole(channels, self.network.kinds, holds)
        groups = [group for group, hold in zip(channels.groups, holds, strict=True) if hold is None]
        plan = self._select(channels, groups)
        if not plan.kept and not self.stage.may_change_nothing:
            raise UserError(
                f"pruning would change nothing: {self._amount()} of {len(groups)} groups rounds to no channel"
            )
        return plan

    def holds(self, channels: Channels) -> list[Hold | None]:
        """Per group why the options leave it whole, None where they do not."""
        found: list[Hold | None] = []
        for group, rule in zip(channels.groups, rules_of(channels, self.skips), strict=True):
            if rule is not None:
                found.append(("skip", f"skip: {rule}"))
            elif self.stage.dense_units(group) == 1:
                found.append(("", "all of its channels must go together"))
            elif not self.scorer.members(group):
                found.append((self.options.name, "no batch normalization with a scale follows"))
            else:
                found.append(None)
        return found

    def _select(self, channels: Channels, groups: list[Group]) -> Plan:
        if self.options.backend == "native":
            candidates = self.scorer.score(channels, groups, self._losing_nothing(channels))
            return select(candidates, self.options, self.stage, self._measure)
        ratios = group_ratios(groups, self.options.ratio, self._losing_nothing(channels))
        if self.stage.steps > 1:
            ratios = [self._ratio_now(*pair) for pair in zip(groups, ratios, strict=True)]
        choose = BACKENDS.get(self.options.backend)
        return choose(self.network.model, self.network.inputs, channels, groups, ratios, self.options)

    def _losing_nothing(self, channels: Channels) -> list[Group]:
        """Groups of one unit; and what this plan alone has to keep, so that no comparison in the code is turned."""
        known = self.network.channels()
        single = [group for group in channels.groups if self.stage.dense_units(group) == 1]
        if channels is known:
            return single
        return single + [group for group, hold in zip(known.groups, self.holds(known), strict=True) if hold is None]

    def _ratio_now(self, group: Group, goal: float) -> float:
        """The share of the present units that brings the group to where this step of several is to be."""
        return still_to_remove(len(group), self.stage.dense_units(group), self.stage.ratio(goal)) / len(group)

    def _amount(self) -> str:
        target = self.options.target
        return f"target_{target[0]} {target[1]}" if target else f"pruned_ratio {self.options.ratio}"

    def cost(self, plan: Plan | None = None) -> Cost:
        """Of the dense network, or of what a plan leaves."""
        return cost_left(self.network, plan)

    def _measure(self, plan: Plan) -> float:
        name = self.options.target[0]
        if name != "latency_ms":
            return getattr(self.cost(plan), name) / self.stage.dense_cost(name, getattr(self.cost(), name))
        surgery = Surgery()
        try:
            carry_out(plan, surgery)
            return self.latency(self.network.model)
        finally:
            surgery.undo()


def _shortfalls(
    plan: Plan, options: PruneOptions, stage: Stage, kinds: frozenset[str], pinned: list[dict[str, str]]
) -> list[str]:
    """A warning for each ratio of which less than half was removed in the end."""
    if options.target is not None or not stage.is_last:
        return []
    origins = [origin for origin in plan.channels.tracing.origins.values() if origin.kind in kinds]
    if not isinstance(options.ratio, Mapping):
        return _shortfall("", plan, stage, origins, options.ratio, pinned)
    return [
        text
        for glob, ratio in options.ratio.items()
        for own in [[origin for origin in origins if glob_of(origin, options.ratio) == glob]]
        for text in _shortfall(f"pruned_ratio[{glob!r}]: ", plan, stage, own, ratio, pinned)
    ]


def _shortfall(
    prefix: str, plan: Plan, stage: Stage, origins: list[Origin], ratio: float, pinned: list[dict[str, str]]
) -> list[str]:
    if not origins:  # a glob that means only layers of another kind
        return []
    left = sum(plan.count(origin.labels) for origin in origins)
    achieved = 1 - left / sum(stage.dense_channels(origin) for origin in origins)
    if achieved >= ratio / 2:
        return []
    owners = {origin.owner for origin in origins}
    why = causes([pin for pin in pinned if pin["layer"] in owners])
    return [f"{prefix}pruned {achieved:.0%} of the channels where {ratio:.0%} was asked{why}"]

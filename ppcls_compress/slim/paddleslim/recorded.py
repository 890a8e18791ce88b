"""What PaddleSlim's pruners have done to a network, as a compression record."""

from __future__ import annotations

from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune.choose.criteria import CRITERIA
from ppcls_compress.slim.prune.choose.whole import whole_layers
from ppcls_compress.slim.prune.cut.fitting import Network
from ppcls_compress.slim.prune.cut.plan import Plan
from ppcls_compress.slim.prune.pruner import cost_left
from ppcls_compress.slim.prune.record import write
from ppcls_compress.slim.record import Record, empty_record
from ppcls_compress.slim.steps import with_step


def recorded(network: Network, criterion: str) -> Record:
    """The record of all plans that have cut `network`; without steps where none has.

    Plans that only zero channels change no structure, and are in no record.

    Args:
        criterion: by which filters were chosen, as `Slim.prune.name` calls it; any other name stays as it is.
    """
    if network.left is None:
        return empty_record()
    channels = network.channels()
    plan = Plan(channels, network.left)
    options = PruneOptions(
        name=criterion if criterion in CRITERIA else PruneOptions.name,
        scope="layer",
        pruned_ratio=_shares(plan, network),
        prune_type="all" if len(network.kinds) > 1 else next(iter(network.kinds)),
    )
    pinned = whole_layers(channels, network.kinds, [None] * len(channels.groups))
    step = write(plan, options, network.changes, (cost_left(network), cost_left(network, plan)), pinned)
    return with_step(empty_record(), {**step, "options": {**step["options"], "name": criterion}})


def _shares(plan: Plan, network: Network) -> dict[str, float]:
    """The share of its channels that each layer has lost."""
    origins = [origin for origin in plan.channels.tracing.origins.values() if origin.kind in network.kinds]
    return {origin.owner: round(1 - plan.count(origin.labels) / len(origin.labels), 6) for origin in origins}

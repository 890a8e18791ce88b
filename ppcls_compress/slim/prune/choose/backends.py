"""Who else may choose the channels: the backends of `Slim.prune.backend` besides our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paddle import nn

from ppcls_compress.registry import Registry
from ppcls_compress.slim.inputs import Inputs
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune.cut.plan import Plan
from ppcls_compress.slim.prune.trace.channels import Channels, Group

Backend = Callable[[nn.Layer, Inputs, Channels, list[Group], Sequence[float], PruneOptions], Plan]
"""(model, inputs, channels, the groups that may be pruned, the share of each to remove, options) -> what is removed."""

BACKENDS: Registry[Backend] = Registry("backend of Slim.prune")

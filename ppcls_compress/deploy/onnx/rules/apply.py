"""Applying fusions to a graph, and telling what kept them from other places."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import MatchingTracer, MatchResult, MatchStatus, RewriteRule, RewriteRuleSet

_logger = logging.getLogger(__name__)


def fuse(model: ir.Model, rules: Sequence[RewriteRule]) -> None:
    """Apply fusions until none fits any more, in place; operands of commutative operators may stand in either order.

    At debug level a line is logged for each place that begins as a fusion's pattern does and was left alone.
    """
    fusions = RewriteRuleSet(rules, commute=True)
    while fusions.apply_to_model(model):
        pass
    if _logger.isEnabledFor(logging.DEBUG):
        for line in _refusals(model, fusions):
            _logger.debug("%s", line)


def _refusals(model: ir.Model, fusions: RewriteRuleSet) -> list[str]:
    """The fusion, the tensor that it would give, and what did not fit."""
    tracer = _Tracer()
    fusions.apply_to_model(model, tracer=tracer)  # with a tracer nothing is changed
    return [
        f"{name}: {node.outputs[0].name} stays as it is: {'; '.join(dict.fromkeys(reasons))}"
        for (name, node), (_, reasons) in tracer.refused.items()
    ]


class _Tracer(MatchingTracer):
    """Keeps the attempts that went furthest for each fusion and node; the base class keeps those of the whole graph.

    Attributes:
        refused: how far, and the reasons of those that came as far, by name of the fusion and last node of the place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refused: dict[tuple[str, ir.Node], tuple[tuple[int, int], list[str]]] = {}

    def log(self, rule: RewriteRule, container: Any, node: ir.Node, match: MatchResult, status: MatchStatus) -> None:
        """Called for every fusion and node."""
        if not match.nodes:
            return  # not even the last operator is the pattern's
        reach = (int(status), len(match.nodes))
        furthest, reasons = self.refused.get((rule.name, node), ((0, 0), []))
        if reach >= furthest:
            kept = reasons if reach == furthest else []
            self.refused[rule.name, node] = (reach, [*kept, match.reason.rstrip(".")])

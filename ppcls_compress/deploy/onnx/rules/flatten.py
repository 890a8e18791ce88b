"""Reshaping to [batch size, the rest] gets its name."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRule, RewriteRuleClassBase

from ppcls_compress.deploy.onnx.graph import constant


def rules() -> list[RewriteRule]:
    """All fusions of this file."""
    return [ReshapeToFlatten.rule(), ReshapeByBatchToFlatten.rule()]


class ReshapeToFlatten(RewriteRuleClassBase):
    """Reshape(x, [0, -1]) -> Flatten(x), as p2o writes it."""

    def pattern(self, op: Any, x: Any, sizes: Any) -> Any:
        """Any reshaping."""
        return op.Reshape(x, sizes)

    def check(self, context: Any, sizes: ir.Value, **_: Any) -> MatchResult:
        """The first dimension stays, the others become one."""
        wanted = constant(sizes)
        if wanted is None:
            return MatchResult().fail(f"{sizes.name} is computed", sizes)
        if wanted.tolist() != [0, -1]:
            return MatchResult().fail(f"it is to {wanted.tolist()}, not [0, -1]", sizes)
        return MatchResult()

    def rewrite(self, op: Any, x: ir.Value, **_: Any) -> ir.Value:
        """Flatten from the second dimension on."""
        return op.Flatten(x, axis=1)


class ReshapeByBatchToFlatten(RewriteRuleClassBase):
    """Reshape(x, [batch size of x, -1]) -> Flatten(x), as paddle2onnx writes it."""

    def __init__(self) -> None:
        super().__init__(remove_nodes=False)  # another node may read the batch size

    def pattern(self, op: Any, x: Any, start: Any, end: Any, rest: Any) -> Any:
        """The batch size is cut out of the tensor's own shape."""
        batch = op.Slice(op.Shape(x), start, end, _allow_other_inputs=True)
        return op.Reshape(x, op.Concat(batch, rest, axis=0))

    def check(self, context: Any, start: ir.Value, end: ir.Value, rest: ir.Value, **_: Any) -> MatchResult:
        """Only the first dimension is kept, and one other is left."""
        bounds = [constant(value) for value in (start, end)]
        if any(bound is None for bound in bounds) or [bound.reshape(-1).tolist() for bound in bounds] != [[0], [1]]:
            return MatchResult().fail("more than the batch size is taken over", [start, end])
        sizes = constant(rest)
        if sizes is None or sizes.size != 1:
            return MatchResult().fail("more than one dimension is left beside the batch size", rest)
        return MatchResult()

    def rewrite(self, op: Any, x: ir.Value, **_: Any) -> ir.Value:
        """Flatten from the second dimension on."""
        return op.Flatten(x, axis=1)

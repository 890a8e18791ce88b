"""A product with a constant matrix becomes a linear layer, which takes a bias."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase

from ppcls_compress.deploy.onnx.graph import constant


class MatMulToGemm(RewriteRuleClassBase):
    """MatMul(x, constant) -> Gemm(x, constant), for x of two dimensions."""

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:
        """Any product."""
        return op.MatMul(x, weight)

    def check(self, context: Any, x: ir.Value, weight: ir.Value) -> MatchResult:
        """Both sides have two dimensions, the second is a constant."""
        matrix = constant(weight)
        if matrix is None:
            return MatchResult().fail(f"{weight.name} is computed", weight)
        if matrix.ndim != 2:
            return MatchResult().fail(f"{weight.name} has {matrix.ndim} dimensions", weight)
        if x.shape is None:
            return MatchResult().fail(f"how many dimensions {x.name} has is not known", x)
        if len(x.shape) != 2:
            return MatchResult().fail(f"{x.name} has {len(x.shape)} dimensions", x)
        return MatchResult()

    def rewrite(self, op: Any, x: ir.Value, weight: ir.Value) -> ir.Value:
        """The same product; the bias comes later."""
        return op.Gemm(x, weight)

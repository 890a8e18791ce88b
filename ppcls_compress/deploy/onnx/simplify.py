"""Tidy a float graph: constants, batch norms and biases folded, hard-swish and flatten in one node each, gates clipped.

What the integer layouts rely on afterwards: a convolution or linear layer is one node, `Conv` or `Gemm`, whose weight
is a constant of its own and whose bias is its third input.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import onnx_ir as ir
from onnx_ir.passes.common import IdentityEliminationPass
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter.rules.common import fuse_hardswish_rules

from ppcls_compress.deploy.onnx import marks
from ppcls_compress.deploy.onnx.graph import infer_shapes, sweep
from ppcls_compress.deploy.onnx.rules import affine, flatten
from ppcls_compress.deploy.onnx.rules.apply import fuse
from ppcls_compress.deploy.onnx.rules.linear import MatMulToGemm
from ppcls_compress.deploy.onnx.weights import Folded, own
from ppcls_compress.slim.quant import InputGrid


def simplify(model: ir.Model, grids: Mapping[str, InputGrid] | None = None) -> dict[str, Folded]:
    """Tidy `model` in place.

    Args:
        model: as the converter wrote it.
        grids: of the places to be marked, by the name of the mark's parameter.

    Returns:
        For each layer, by the name of its weight, what that was made of.
    """
    IdentityEliminationPass()(model)
    fold_constants(model, input_size_limit=sys.maxsize, output_size_limit=sys.maxsize)
    fuse(model, [*flatten.rules(), *fuse_hardswish_rules()])
    infer_shapes(model)
    marks.from_products(model, grids or {})
    fuse(model, [MatMulToGemm.rule()])
    folded = own(model)
    fuse(model, affine.rules(folded))
    sweep(model)
    return folded

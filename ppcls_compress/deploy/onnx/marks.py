"""Places that training rounded, in a graph: an operator `Mark` of this package, which holds the grid.

The converted graph holds a multiplication with a parameter at each place; tidying turns them into marks before it folds
multiplications, and the layouts turn marks into pairs.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from ppcls_compress.deploy.onnx.graph import insert_after, readers, redirect
from ppcls_compress.slim.quant import InputGrid

MARK = "Mark"
_DOMAIN = "ppcls_compress"
_GRID = "grid"


def from_products(model: ir.Model, grids: Mapping[str, InputGrid]) -> None:
    """Turn the multiplications by the parameters of marks into marks, in place.

    Args:
        model: as the converter wrote it, or tidied.
        grids: of the places, by the name of the mark's parameter.
    """
    parameters = model.graph.initializers
    model.graph.opset_imports[_DOMAIN] = 1
    for name, grid in grids.items():
        for product in readers(parameters[name]) if name in parameters else ():
            (source,) = (value for value in product.inputs if value is not parameters[name])
            marked = add(source, grid)
            redirect(product.outputs[0], marked)
            model.graph.remove(product, safe=True)


def add(value: ir.Value, grid: InputGrid) -> ir.Value:
    """A mark on a tensor, whose readers stay; returns the marked tensor."""
    marked = insert_after(value, MARK, [value], f"{value.name}.mark", domain=_DOMAIN)
    marked.producer().meta[_GRID] = grid
    marked.shape, marked.type = value.shape, value.type
    return marked


def grid(node: ir.Node) -> InputGrid:
    """What a mark rounds to."""
    return node.meta[_GRID]

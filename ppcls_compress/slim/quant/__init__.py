"""Quantization, in training and after it: fake quantizers, PACT, LSQ, the layers that carry them.

model, record = prepare(model, QuantOptions(name="pact"))
calibrate(model, batches)
...                                   # train as usual; the optimizer is built after this point
deployed = to_inference(model)        # or convert(model) for the float layers
model = apply_record(fresh, record)   # elsewhere: the same structure, ready for a strict load
"""

from ppcls_compress.slim.quant.building import CustomParts, named_classes
from ppcls_compress.slim.quant.calibrate import calibrate
from ppcls_compress.slim.quant.distributions import Distribution, distributions
from ppcls_compress.slim.quant.fold import fold_batch_norms
from ppcls_compress.slim.quant.foreign import native
from ppcls_compress.slim.quant.inference import LayerGrid, grids, to_inference
from ppcls_compress.slim.quant.input_grid import InputGrid
from ppcls_compress.slim.quant.layers import quant_layers
from ppcls_compress.slim.quant.monitor import (
    freeze_batch_norms,
    freeze_observers,
    frozen_from,
    learned_parameters,
    start_epoch,
    statistics,
)
from ppcls_compress.slim.quant.placement.marking import mark_places
from ppcls_compress.slim.quant.placement.placement import is_placed
from ppcls_compress.slim.quant.prepare import apply_fold, apply_record, convert, fold_step, prepare
from ppcls_compress.slim.quant.quantizers.weights import WeightGrid

__all__ = [
    "CustomParts",
    "Distribution",
    "InputGrid",
    "LayerGrid",
    "WeightGrid",
    "apply_fold",
    "apply_record",
    "calibrate",
    "convert",
    "distributions",
    "fold_batch_norms",
    "fold_step",
    "freeze_batch_norms",
    "freeze_observers",
    "frozen_from",
    "grids",
    "is_placed",
    "learned_parameters",
    "mark_places",
    "named_classes",
    "native",
    "prepare",
    "quant_layers",
    "start_epoch",
    "statistics",
    "to_inference",
]

"""Quantization-aware training: fake quantizers, PACT, the layers that carry them.

model, record = prepare(model, QuantOptions(name="pact"))
calibrate(model, batches)
...                                   # train as usual; the optimizer is built after this point
deployed = to_inference(model)        # or convert(model) for the float layers
model = apply_record(fresh, record)   # elsewhere: the same structure, ready for a strict load
"""

from ppcls_compress.slim.quant.calibrate import calibrate
from ppcls_compress.slim.quant.inference import to_inference
from ppcls_compress.slim.quant.layers import quant_layers
from ppcls_compress.slim.quant.monitor import learned_parameters, not_finite, statistics
from ppcls_compress.slim.quant.prepare import apply_record, convert, prepare

__all__ = [
    "apply_record",
    "calibrate",
    "convert",
    "learned_parameters",
    "not_finite",
    "prepare",
    "quant_layers",
    "statistics",
    "to_inference",
]

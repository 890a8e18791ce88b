"""Which images make up which batch, on which rank: a pure function of seed and epoch; a file for each kind.

A new sampler: a class with its options and `build`, decorated with `@SAMPLERS.declare`, in the file of its kind; a new
file, and its line in `_FILES`.
"""

from ppcls_compress.data.samplers import dealing
from ppcls_compress.data.samplers.base import SAMPLERS, BatchSampler, Sampler, batch_rng, order_rng, sample_rng
from ppcls_compress.data.samplers.dealing import Dealer, DistributedBatchSampler

__all__ = [
    "SAMPLERS",
    "BatchSampler",
    "Dealer",
    "DistributedBatchSampler",
    "Sampler",
    "batch_rng",
    "order_rng",
    "sample_rng",
]

_FILES = (dealing,)

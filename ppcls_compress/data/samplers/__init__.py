"""Which images make up which batch, on which rank: a pure function of seed and epoch; a file for each kind.

A new sampler: a class with its options and `build`, decorated with `@SAMPLERS.declare`, in the file of its kind; a new
file, and its line in the first import here.
"""

from ppcls_compress.data.samplers import (  # noqa: F401  they declare
    dealing,
    domains,
    identities,
    repeated,
    scales,
)
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

"""Transforms of whole batches, which mix images and make labels rows of class probabilities."""

from ppcls_compress.data.transforms.batch.pipeline import BatchPipeline

__all__ = ["BatchPipeline"]

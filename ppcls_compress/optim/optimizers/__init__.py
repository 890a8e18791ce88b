"""The `Optimizer` section under PaddleClas' keys; a file for each kind of optimizer.

A new optimizer: a class with its options and `build`, decorated with `@OPTIMIZERS.declare`, in the file of its kind; a
new file, and its line in the first import here.
"""

from ppcls_compress.optim.optimizers import (  # noqa: F401  they declare
    adaptive,
    descent,
)
from ppcls_compress.optim.optimizers.base import OPTIMIZERS, Optimizer, Trained
from ppcls_compress.optim.optimizers.section import OptimizerSection, inert_options, is_gentle

__all__ = ["OPTIMIZERS", "Optimizer", "OptimizerSection", "Trained", "inert_options", "is_gentle"]

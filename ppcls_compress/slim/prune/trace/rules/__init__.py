"""The operator table: one file per kind of operator; importing this package fills `context.RULES`."""

from ppcls_compress.slim.prune.trace.rules import (  # noqa: F401
    convolution,
    creation,
    elementwise,
    indexing,
    joining,
    linear,
    normalization,
    padding,
    pooling,
    reduction,
    reshaping,
)

"""What inference makes of a network's scores, written as in `Infer.PostProcess` of PaddleClas YAML files.

A new one: a class with its options and `answer`, decorated with `@POST_PROCESSES.declare`, in the file of its kind; a
new file, and its line in the first import here.
"""

from ppcls_compress.postprocess import (  # noqa: F401  they declare
    attributes,
    classes,
    features,
    labels,
)
from ppcls_compress.postprocess.base import POST_PROCESSES, PostProcess
from ppcls_compress.postprocess.classes import Topk

__all__ = ["POST_PROCESSES", "PostProcess", "Topk"]

"""The file that ONNX runtimes load, and what writing each layout of it takes."""

from __future__ import annotations

from collections.abc import Mapping

from ppcls_compress.deploy.extras import TO_ONNX

MODEL = "model.onnx"
LARGEST = 2**31 - 1
"""Bytes of a model: what ONNX holds in one file."""
LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "ort": (*TO_ONNX, "onnxruntime"),  # which finds the ranges of tensors
    "openvino": TO_ONNX,
    "qdq": (*TO_ONNX, "onnxruntime"),
    "rknn": (*TO_ONNX, "onnxruntime"),
}
"""How an integer graph is laid out -> what must be importable to write it."""
EXTRAS: Mapping[str, str] = {"ort": "onnx", "openvino": "openvino", "qdq": "onnx", "rknn": "onnx"}
"""Which extra of this package brings that."""

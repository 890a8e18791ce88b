"""A model as another tool exports it: an operator set from before ours, a batch size of 1, a turned weight."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra onnx is not installed")

import onnx

SIZE = 16
TEXT = f"""<ir_version: 7, opset_import: ["" : 13]>
net (float[1, 3, {SIZE}, {SIZE}] photo) => (float[1, 4] scores) {{
    a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (photo, stem_weight, stem_bias)
    b = Relu (a)
    c = Conv <group = 8, pads = [1, 1, 1, 1]> (b, depth_weight)
    d = Relu (c)
    e = GlobalAveragePool (d)
    f = Reshape (e, sizes)
    g = Gemm <transB = 1> (f, head_weight, head_bias)
    scores = Softmax <axis = 1> (g)
}}"""
SHAPES = {
    "stem_weight": (8, 3, 3, 3),
    "stem_bias": (8,),
    "depth_weight": (8, 1, 3, 3),
    "head_weight": (4, 8),
    "head_bias": (4,),
}
PREPROCESS = f"""PreProcess:
  transform_ops:
  - ResizeImage: {{size: {SIZE}}}
  - NormalizeImage: {{scale: 1.0/255.0, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], order: ''}}
  - ToCHWImage:
"""


def model(*changes: tuple[str, str]) -> onnx.ModelProto:
    """The model with random weights; each change puts a piece of text in the place of another."""
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    found = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    arrays["sizes"] = np.array([1, 8])
    read = {name for node in found.graph.node for name in node.input}
    found.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in arrays.items() if name in read
    )
    return found


def photos(folder: Path, count: int = 24) -> Path:
    """A folder of images, `count` of them, and beside it a list with labels 0 .. 3, `<folder>.txt`."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(count):
        smooth = cv2.resize(rng.integers(0, 256, (3, 3, 3), np.uint8), (SIZE, SIZE))
        cv2.imwrite(str(folder / f"{number:02}.png"), smooth)
    lines = [f"{number:02}.png {number % 4}" for number in range(count)]
    folder.with_suffix(".txt").write_text("\n".join(lines) + "\n")
    return folder

"""Layers that are called more than once: each format has a grid for every call, as a layer for each call has."""

import numpy as np
import paddle
import pytest
from support.exporting import export
from support.onnx_extras import need
from support.processor import needs_dot_products
from support.shared import INPUTS, SHAPE, images, pair

from ppcls_compress.deploy import formats, sessions
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions

VALUES = images(64, 9)
WIDER = ("onnx-qdq", "onnx-rknn")
"""Formats that round more than training for deployment does."""


@pytest.fixture(scope="module")
def prepared():
    """The network with shared layers and the one without: model and record."""
    found = []
    for net in pair():
        model, step = quant.prepare(
            net, QuantOptions(name="ptq", bias_correction=False, placement="deploy"), inputs=INPUTS
        )
        quant.calibrate(model, [paddle.to_tensor(images(16, 5))])
        model.eval()
        found.append((model, {"version": 1, "steps": [step]}))
    return found


@pytest.mark.parametrize("name", [kind.name for kind in formats.FORMATS.values()])
@needs_dot_products
def test_every_format_has_a_grid_for_each_call(prepared, tmp_path, name):
    need(formats.get(name))
    answers = []
    for (model, record), folder in zip(prepared, ("shared", "apart"), strict=True):
        about = {"calibration": [images(16, 5)]} if name in WIDER else {}  # for what is added
        result = export(
            model, tmp_path / folder, image_shape=SHAPE, output="logits", record=record, format=name, **about
        )
        session = sessions.open_session(result.artifact, 1)
        answers.append(session.run(VALUES))
        layers = {"shared": 5, "apart": 9}[folder]
        assert result.artifact.description.integer_layers == layers
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-6)
    expected = prepared[0][0](paddle.to_tensor(VALUES)).numpy()
    difference = np.abs(answers[0] - expected)
    assert difference.max() < 0.05
    # Programs of the older format round only what layers read, explicit pairs are also on what is added; elsewhere a
    # tie may fall to its other side in an image.
    assert name in ("onednn", "paddle-lite", *WIDER) or (difference < 1e-5).mean() > 0.97

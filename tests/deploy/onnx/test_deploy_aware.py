"""Graphs of networks trained with `placement: deploy`: nothing calibrated, and the answers of the model."""

from __future__ import annotations

import copy

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

from support.placed import SHAPE, images, logits, placed_network, prepared, train
from support.processor import needs_dot_products

from ppcls_compress.deploy.extras import TO_ONNX, missing
from ppcls_compress.deploy.onnx import runtime
from ppcls_compress.deploy.onnx.export import export
from ppcls_compress.deploy.onnx.graph import constant, load
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.quant.input_grid import quantizer_grid
from ppcls_compress.slim.quant.placement.placement import RoundedBefore
from ppcls_compress.slim.quant.quantizers.base import ActivationQuantizer

pytestmark = pytest.mark.skipif(bool(missing(TO_ONNX)), reason="the extra onnx is not installed")
RUNTIMES = {"ort": "onnxruntime", "openvino": "openvino"}


@pytest.fixture(scope="module")
def network():
    return placed_network()


FREE = {"asymmetric": True, "depthwise_ranges": "channel"}


@pytest.mark.parametrize("free", [{}, FREE], ids=["default", "free"])
@pytest.mark.parametrize("name", ["pact", "lsq", "qat", "ptq"])
def test_onnxruntime_computes_what_training_saw(network, tmp_path, name, free):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    model, expected, found = answers(network, tmp_path, name, "ort", **free)
    step = quant.grids(model)["fc"].input.scale * np.abs(model.fc.weight.numpy()).max()
    difference = np.abs(found - expected)
    # To float rounding; a tie that falls to the other side moves a value by one step of its grid.
    assert (difference < 1e-5).mean() > 0.95
    assert difference.max() < 4 * step
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))


@pytest.mark.parametrize("free", [{}, FREE], ids=["default", "free"])
@needs_dot_products
def test_openvino_keeps_the_roundings_before_sums(network, tmp_path, free):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    _, expected, found = answers(network, tmp_path, "pact", "openvino", **free)
    difference = np.abs(found - expected)
    assert difference.mean() < 0.002 * np.abs(expected).max()  # 0.008 without the pooling before the sums
    ordered = np.sort(expected, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 2 * difference.max()
    assert clear.any()
    np.testing.assert_array_equal(found.argmax(1)[clear], expected.argmax(1)[clear])


def answers(network, folder, name, layout, **options):
    """A trained model, its logits, and those of the file written from it, all of whose layers must run on integers."""
    model, _ = prepared(QuantOptions(name=name, placement="deploy", **options), copy.deepcopy(network))
    if name != "ptq":
        train(model)
    exported = export(model, folder, image_shape=SHAPE, layout=layout, output="logits")
    values = images(64, 9)
    found = runtime.load(exported.path, RUNTIMES[layout], threads=1).run(values)
    for whole, count in runtime.integer_share(exported.path, RUNTIMES[layout]).values():
        assert whole == count
    return model, logits(model, values), found


def test_every_pair_is_on_a_learned_grid(network, tmp_path):
    model, _ = prepared(QuantOptions(placement="deploy"), copy.deepcopy(network))
    written = load(export(model, tmp_path, image_shape=SHAPE, layout="ort", output="logits").path)
    pairs = [node for node in written.graph if node.op_type == "QuantizeLinear"]
    scales = {float(constant(node.inputs[1])) for node in pairs}
    quantizers = [
        layer
        for layer in model.sublayers()
        if isinstance(layer, ActivationQuantizer) and not isinstance(layer, RoundedBefore)
    ]
    learned = [quantizer_grid(item).scale for item in quantizers]
    assert len(pairs) >= len(quantizers)
    for scale in scales:
        assert np.isclose(learned, scale, rtol=1e-6).any()
    assert all(constant(node.inputs[2]).dtype == np.uint8 for node in pairs)

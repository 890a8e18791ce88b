"""Layouts of one model start from one conversion, and are the files that they are alone."""

import copy
import re

import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

import onnx
from support.onnx_extras import needs_onnx
from support.placed import SHAPE, images, placed_network, prepared

from ppcls_compress.deploy.kinds import Shared
from ppcls_compress.deploy.onnx import convert
from ppcls_compress.deploy.onnx.export import export
from ppcls_compress.slim.options import QuantOptions

pytestmark = needs_onnx


@pytest.fixture(scope="module")
def network():
    return placed_network()


@pytest.mark.parametrize("options", [None, {}, {"placement": "deploy"}], ids=["float", "calibrated", "learned"])
def test_layouts_share_a_conversion_and_nothing_else(network, tmp_path, monkeypatch, options):
    model = copy.deepcopy(network)
    if options is not None:
        model, _ = prepared(QuantOptions(**options), model)
    converted = []
    convert_once = convert.float_graph

    def counted(*arguments):
        converted.append(1)
        return convert_once(*arguments)

    monkeypatch.setattr(convert, "float_graph", counted)

    def write(name, layout, **given):
        folder = tmp_path / name
        written = export(model, folder, image_shape=SHAPE, layout=layout, calibration=[images(8, 0)], **given)
        text = str(onnx.load(written.path))
        return re.sub(r"(_deepcopy_\d+)+", "", text), written.quantized, written.notes  # a copy has names of its own

    shared = Shared()
    layouts = ("ort", "openvino", "ort")
    together = [write(f"together{index}", layout, shared=shared) for index, layout in enumerate(layouts)]
    assert len(converted) == 1
    assert together[2] == together[0]
    assert together[:2] == [write(layout, layout) for layout in layouts[:2]]

from __future__ import annotations

import importlib.util

import paddle
import pytest
from support.onnx_extras import needs_onnx

from ppcls_compress.deploy import extras
from ppcls_compress.deploy.onnx.export import export
from ppcls_compress.errors import MissingDependencyError

pytestmark = needs_onnx
SHAPE = (3, 4, 4)


@pytest.fixture
def network():
    return paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(48, 2))


@pytest.mark.parametrize(
    ("layout", "missing", "line"),
    [
        ("ort", "onnx", "onnx not installed; pip install 'ppcls_compress[onnx]' brings it"),
        ("openvino", "onnx", "onnx not installed; pip install 'ppcls_compress[openvino]' brings it"),
        ("openvino", "onnxscript", "onnxscript not installed; pip install 'ppcls_compress[openvino]' brings it"),
        ("ort", "onnxruntime", "onnxruntime not installed; pip install 'ppcls_compress[onnx]' brings it"),
    ],
)
def test_a_missing_package_is_told_with_its_extra(network, layout, missing, line, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(MissingDependencyError) as error:
        export(network, tmp_path, image_shape=SHAPE, output="logits", layout=layout)
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("python", "line"),
    [
        ((3, 12), "paddle2onnx or p2o not installed; pip install 'ppcls_compress[openvino]' brings it"),
        ((3, 13), "p2o not installed; pip install 'ppcls_compress[openvino]' brings it"),
    ],
)
def test_what_converts_is_named_where_none_of_it_is_installed(network, python, line, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "paddle2onnx" else find(name))
    monkeypatch.setattr(extras, "program", lambda name: None)
    monkeypatch.setattr(extras.sys, "version_info", (*python, 1))
    with pytest.raises(MissingDependencyError) as error:
        export(network, tmp_path, image_shape=SHAPE, output="logits", layout="openvino")
    assert str(error.value) == line

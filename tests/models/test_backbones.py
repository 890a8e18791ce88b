"""Every backbone against PaddleClas: the same state dict, and the same logits under the same weights and image."""

from __future__ import annotations

import copy
import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import paddle
import pytest
from support.backbones import FAMILIES, LARGE, NATIVE, SMALLEST, side

from ppcls_compress import models

FACTS = json.loads(gzip.decompress((Path(__file__).parents[1] / "data" / "backbones.json.gz").read_bytes()))
OURS = [name for name in FACTS if name in models.catalog.names()]
SLOW = {"ResNet34", "ResNet101", "ResNet34_vd", "PPHGNet_small", "VGG11", "VGG16", "AlexNet"}


def reference_weight(key, shape):
    """The rule that the facts were made with."""
    rng = np.random.RandomState(zlib.crc32(key.encode()))
    if key.endswith("_variance") or (len(shape) == 1 and key.endswith("weight")):
        weight = rng.uniform(0.5, 1.5, shape)
    elif len(shape) <= 1:
        weight = 0.1 * rng.randn(*shape)
    else:
        weight = rng.randn(*shape) * np.sqrt(2 / (shape[0] if len(shape) == 2 else np.prod(shape[1:])))
    return weight.astype("float32")


def set_reference_weights(net):
    for key, tensor in net.state_dict().items():
        if "float" in str(tensor.dtype):
            tensor.set_value(reference_weight(key, tensor.shape))
    net.eval()
    return net


def logits(net, image):
    with paddle.no_grad():
        return net(paddle.to_tensor(image)).numpy()


def difference(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


def test_the_smallest_backbones_are_of_all_native_families():
    def families(names):
        return {models.catalog.get(name).module for name in names}

    assert families(NATIVE) - families(SMALLEST) == {"swin_transformer_v2"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in OURS]
)
def test_state_dict_and_logits_are_those_of_paddleclas(name):
    facts = FACTS[name]
    net = set_reference_weights(models.build(name))
    assert [(key, list(tensor.shape)) for key, tensor in net.state_dict().items()] == list(
        map(tuple, facts["state"].items())
    )
    image = np.random.RandomState(0).randn(1, 3, facts["size"], facts["size"]).astype("float32")
    found = logits(net, image)
    assert list(found.shape) == facts["out"]
    gap = difference(found[0, :8], np.array(facts["logits"]))
    if gap >= 1e-4:  # SE_ResNet50_vd's own rounding in single precision is more, and each processor's is another
        exact = logits(net.to(dtype="float64"), image.astype("float64"))
        rounding = difference(found[0, :8], exact[0, :8])
        assert rounding < 2e-3
        assert gap < 4 * rounding


@pytest.mark.parametrize("name", ["CIFARResNet8", "ESNet_x0_25", "PPLCNetV2_small", "RepVGG_A0", "Res2Net50_26w_4s"])
def test_a_deep_copy_is_equal_and_independent(name):
    net = set_reference_weights(models.build(name, class_num=3))
    image = np.random.RandomState(0).randn(2, 3, side(name, 64), side(name, 64)).astype("float32")
    before = logits(net, image)
    twin = copy.deepcopy(net)
    np.testing.assert_array_equal(logits(twin, image), before)
    for parameter in twin.parameters():
        parameter.set_value(paddle.zeros_like(parameter))
    np.testing.assert_array_equal(logits(net, image), before)
    assert len({parameter.name for parameter in net.parameters() + twin.parameters()}) == 2 * len(net.parameters())


# What is written as ONNX in the tests of formats is saved so on the way.
@pytest.mark.usefixtures("small_classifiers")
@pytest.mark.parametrize("name", ["CIFARResNet8", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_saves_with_a_dynamic_batch(name, tmp_path):
    net = set_reference_weights(models.build(name, class_num=3))
    shape = [3, side(name, 64), side(name, 64)]
    spec = paddle.static.InputSpec([None, *shape], "float32")
    paddle.jit.save(paddle.jit.to_static(net, input_spec=[spec], full_graph=True), str(tmp_path / "net"))
    loaded = paddle.jit.load(str(tmp_path / "net"))
    image = np.random.RandomState(0).randn(5, *shape).astype("float32")
    for batch in (1, 5):
        assert difference(logits(loaded, image[:batch]), logits(net, image[:batch])) < 1e-5


def without_dropout(net):
    for layer in net.sublayers():
        if isinstance(layer, paddle.nn.Dropout):
            layer.p = 0.0
    return net


@pytest.mark.usefixtures("small_classifiers")
@pytest.mark.parametrize("name", FAMILIES)
def test_learns(name):
    paddle.seed(0)
    net = without_dropout(models.build(name, class_num=2))
    images = paddle.to_tensor(np.random.RandomState(0).randn(8, 3, side(name, 32), side(name, 32)).astype("float32"))
    labels = paddle.to_tensor([0, 1] * 4)

    def loss():
        return paddle.nn.functional.cross_entropy(net(images), labels)

    before = loss()
    before.backward()
    trained = [parameter for parameter in net.parameters() if not parameter.stop_gradient]
    assert all(parameter.grad is not None for parameter in trained)
    slope = sum(parameter.grad.square().sum().item() for parameter in trained)
    # A step that lowers the loss by a hundredth, if it were linear.
    paddle.optimizer.SGD(0.01 * before.item() / slope, parameters=trained).step()
    assert loss().item() < before.item()

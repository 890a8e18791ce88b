import dataclasses
import logging
import re

import numpy as np
import paddle
import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

import onnx
from paddle import nn

from ppcls_compress.deploy import extras
from ppcls_compress.deploy.network import logits_of
from ppcls_compress.deploy.onnx import convert, graph, runtime
from ppcls_compress.deploy.onnx.convert.converters import CONVERTERS
from ppcls_compress.errors import UserError

SHAPE = (3, 12, 12)
BY = {converter.name: converter for converter in CONVERTERS}
EACH = [
    pytest.param(
        converter, marks=pytest.mark.skipif(not converter.installed, reason=f"{converter.name} is not installed")
    )
    for converter in CONVERTERS
]
each_converter = pytest.mark.parametrize("converter", EACH, ids=BY)


class Head(nn.Layer):
    """A convolution, what a test is about, and a classifier."""

    def __init__(self, *layers):
        super().__init__()
        self.stem = nn.Conv2D(3, 4, 3, padding=1)
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(paddle.flatten(self.pool(self.layers(self.stem(x))), 1))


class Call(nn.Layer):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def norms(*kinds):
    """Normalizations with epsilons that are no one's default, and statistics beside which they count."""
    paddle.seed(3)
    made = []
    for kind in kinds:
        if kind == "batch":
            made.append(nn.BatchNorm2D(4, epsilon=7e-4))
            made[-1]._variance.set_value(paddle.uniform([4], min=5e-4, max=5e-3))
            made[-1].weight.set_value(paddle.full([4], 0.05))
        elif kind == "group":
            made.append(nn.GroupNorm(2, 4, epsilon=2e-4))
        elif kind == "instance":
            made.append(nn.InstanceNorm2D(4, epsilon=3e-4))
        elif kind == "layer":
            made += [Call(lambda x: x.transpose([0, 2, 3, 1])), nn.LayerNorm(4, epsilon=4e-4)]
            made.append(Call(lambda x: x.transpose([0, 3, 1, 2])))
    return made


def images(count):
    return np.random.default_rng(count).standard_normal((count, *SHAPE), np.float32)


def distance(network, model, folder):
    """Of a graph's answers from the model's, relative to the largest."""
    graph.save(network, folder / "model.onnx")
    expected = logits_of(model, images(5))
    found = runtime.load(folder / "model.onnx", "onnxruntime", threads=1).run(images(5))
    return np.abs(found - expected).max() / np.abs(expected).max()


def only(monkeypatch, *converters):
    monkeypatch.setattr(convert, "CONVERTERS", converters)


def everything_is_installed(monkeypatch):
    monkeypatch.setattr(extras, "missing", lambda names: [name for name in names if name == "absent"])


LAYERS = {
    "batch, group and layer norms": lambda: norms("batch", "group", "layer"),
    "dropout that scales": lambda: [nn.Dropout(0.4, mode="downscale_in_infer")],
    "dropout that does not": lambda: [nn.Dropout(0.4)],
    "relu6": lambda: [nn.ReLU6()],
    "leaky relu": lambda: [nn.LeakyReLU(0.3)],
    "pooling into equal windows": lambda: [nn.AdaptiveAvgPool2D(4)],
    "padding": lambda: [nn.Pad2D([1, 2, 3, 0], value=0.7)],
    "resizing": lambda: [nn.Upsample(scale_factor=2), nn.Upsample(size=[30, 30], mode="bilinear")],
}


def evaluated(*layers):
    paddle.seed(1)
    model = Head(*layers)
    model.eval()
    return model


@pytest.mark.parametrize("name", [*LAYERS, "hardtanh"])
def test_p2o_writes_what_the_network_computes(name, tmp_path, monkeypatch):
    model = evaluated(*LAYERS.get(name, lambda: [nn.Hardtanh(-0.5, 0.7)])())
    only(monkeypatch, BY["p2o"])
    assert distance(convert.float_graph(model, SHAPE), model, tmp_path) < 1e-5


@pytest.mark.skipif(not BY["paddle2onnx"].installed, reason="paddle2onnx is not installed")
def test_paddle2onnx_writes_what_the_network_computes(tmp_path, monkeypatch):
    model = evaluated(*norms("instance"), *(layer for make in LAYERS.values() for layer in make()))
    only(monkeypatch, BY["paddle2onnx"])
    assert distance(convert.float_graph(model, SHAPE), model, tmp_path) < 1e-5


@each_converter
def test_parameters_keep_their_names_even_of_equal_values(converter, monkeypatch):
    model = nn.Sequential(*(nn.Conv2D(3, 3, 3, padding=1) for _ in range(3)), nn.Flatten())
    for layer in model[1:3]:
        layer.weight.set_value(model[0].weight)
    only(monkeypatch, converter)
    network = convert.float_graph(model, SHAPE)
    weights = [node.inputs[1].name for node in network.graph if node.op_type == "Conv"]
    assert weights == [layer.weight.name for layer in model[:3]]
    for name in weights:
        np.testing.assert_array_equal(graph.constant(network.graph.initializers[name]), model[0].weight.numpy())


def changing(converter, change):
    """A converter that errs: what it writes is changed."""

    def run(source, parameters, target, program):
        converter.run(source, parameters, target, program)
        model = onnx.load(str(target))
        change(model.graph)
        onnx.save(model, str(target))

    return dataclasses.replace(converter, run=run)


def _wrong_epsilon(written):
    node = next(node for node in written.node if node.op_type == "BatchNormalization")
    next(item for item in node.attribute if item.name == "epsilon").f = 1.3e17


def _other_operator(written):
    next(node for node in written.node if node.op_type == "Relu").op_type = "Sigmoid"


def _one_image_only(written):
    node = next(node for node in written.node if node.op_type == "Reshape")
    sizes = next(item for item in written.initializer if item.name == node.input[1])
    sizes.CopyFrom(onnx.numpy_helper.from_array(np.asarray([1, -1]), sizes.name))


@each_converter
def test_an_epsilon_that_the_converter_wrote_wrong_is_the_layers_in_the_graph(converter, tmp_path, monkeypatch, caplog):
    model = evaluated(*norms("batch"))
    only(monkeypatch, changing(converter, _wrong_epsilon))
    with caplog.at_level(logging.INFO, "ppcls_compress"):
        network = convert.float_graph(model, SHAPE)
    assert distance(network, model, tmp_path) < 1e-5
    line = f"{converter.name} wrote 1 epsilons that are not the layers', which stand in the file now"
    assert caplog.messages == [f"{line} (Paddle2ONNX issue 1646)"]


def failing(converter, reason):
    def run(*_):
        raise UserError(reason)

    return dataclasses.replace(converter, run=run)


def test_the_second_converter_steps_in_where_the_first_fails(tmp_path, monkeypatch, caplog):
    model = evaluated(nn.ReLU())
    only(monkeypatch, failing(BY["paddle2onnx"], "knows none of it"), BY["p2o"])
    everything_is_installed(monkeypatch)
    with caplog.at_level(logging.INFO, "ppcls_compress"):
        network = convert.float_graph(model, SHAPE)
    assert distance(network, model, tmp_path) < 1e-5
    assert caplog.messages == ["converted to ONNX by p2o; paddle2onnx: knows none of it"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_other_operator, r"what it wrote is up to \d+\.\d% of the largest logit from the network"),
        (_one_image_only, r"onnxruntime does not run what it wrote: .*|logits of shape .*"),
    ],
)
def test_the_second_converter_steps_in_where_the_first_errs(change, reason, tmp_path, monkeypatch, caplog):
    model = evaluated(nn.ReLU())
    only(monkeypatch, changing(BY["p2o"], change), dataclasses.replace(BY["p2o"], name="other"))
    everything_is_installed(monkeypatch)
    with caplog.at_level(logging.INFO, "ppcls_compress"):
        network = convert.float_graph(model, SHAPE)
    assert distance(network, model, tmp_path) < 1e-5
    assert re.fullmatch(f"converted to ONNX by other; p2o: ({reason})", caplog.messages[0])


def test_no_converter_that_works_is_one_line_with_all_reasons(monkeypatch):
    absent = dataclasses.replace(BY["p2o"], name="absent")
    only(monkeypatch, failing(BY["paddle2onnx"], "knows none of it"), absent)
    everything_is_installed(monkeypatch)
    with pytest.raises(UserError) as error:
        convert.float_graph(Head(), SHAPE)
    reasons = "paddle2onnx: knows none of it; absent is not installed"
    assert str(error.value) == f"the network has no ONNX form: {reasons}"

from dataclasses import replace

import numpy as np
import pytest
from support.onnx_extras import needs_onnx

pytest.importorskip("onnxscript")
pytestmark = needs_onnx

from support.onnx_graphs import node, parse, random  # noqa: E402

from ppcls_compress.deploy.onnx import runtime  # noqa: E402
from ppcls_compress.deploy.onnx.calibrated import calibrate  # noqa: E402
from ppcls_compress.deploy.onnx.graph import copied, to_proto  # noqa: E402
from ppcls_compress.deploy.onnx.layered import layered, normalize_products  # noqa: E402
from ppcls_compress.deploy.onnx.simplify import simplify  # noqa: E402
from ppcls_compress.errors import ConfigError, UserError  # noqa: E402
from ppcls_compress.slim.options import QuantOptions  # noqa: E402

PTQ = QuantOptions(name="ptq", quantizable_layer_type=("Conv2D", "Conv2DTranspose", "Linear"))
X = ("n", 4, 8, 8)
BODY = """
    a = Conv <pads = [1, 0, 2, 1], strides = [2, 1], group = 2> (x, first_weight, first_bias)
    b = HardSwish (a)
    c = Conv <group = 6, dilations = [1, 2], pads = [1, 2, 1, 2]> (b, depth_weight)
    d = ConvTranspose <strides = [2, 2], output_padding = [1, 0]> (c, up_weight)
    e = GlobalAveragePool (d)
    f = Flatten (e)
    y = Gemm <transB = 1> (f, head_weight)
"""
WEIGHTS = {
    "first_weight": random(6, 2, 3, 3),
    "first_bias": random(6),
    "depth_weight": random(6, 1, 3, 3),
    "up_weight": random(6, 5, 2, 2),
    "head_weight": random(3, 5),
}
IMAGES = [random(8, 4, 8, 8), random(4, 4, 8, 8)]


def graph(body=BODY, weights=WEIGHTS, y=("n", 3)):
    model = parse(body, x=X, y=y, **weights)
    normalize_products(model)
    return model, simplify(model)


def answers(model, folder, name="onnxruntime", images=IMAGES[0]):
    path = folder / "model.onnx"
    if model is not None:
        path.write_bytes(to_proto(copied(model)).SerializeToString())
    return runtime.load(path, name, threads=1).run(images)


def test_each_layer_computes_what_its_node_does():
    model, folded = graph()
    found = layered(model, folded)
    read = {}
    hooks = [
        layer.register_forward_pre_hook(lambda layer, given, name=name: read.update({name: given[0]}))
        for name, layer in found.network.named_sublayers()
    ]
    import onnx
    import paddle

    answer = found.network(paddle.to_tensor(IMAGES[0])).numpy()
    for hook in hooks:
        hook.remove()
    outputs = {name: getattr(found.network, name)(x).numpy() for name, x in read.items()}
    watched = to_proto(copied(model))
    for item in found.nodes.values():
        watched.graph.output.append(onnx.helper.make_tensor_value_info(item.outputs[0].name, 1, None))
    expected = onnx.reference.ReferenceEvaluator(watched).run(None, {"x": IMAGES[0]})
    np.testing.assert_allclose(answer, expected[0], rtol=1e-4, atol=1e-5)
    assert list(found.nodes) == list(outputs) == ["first", "depth", "up", "head"]
    for got, wanted in zip(outputs.values(), expected[1:], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("layout", "name"), [("ort", "onnxruntime"), ("openvino", "openvino")])
def test_integers_answer_nearly_as_the_float_graph(tmp_path, layout, name):
    model, folded = graph()
    expected = answers(model, tmp_path)
    found = calibrate(model, folded, PTQ, IMAGES)
    written = found.write(tmp_path, layout=layout, output="logits", images=IMAGES)
    assert written.quantized == ["first", "depth", "up", "head"]
    assert list(found.step["quantized"]) == written.quantized
    assert np.abs(answers(None, tmp_path, name) - expected).mean() < 0.03 * np.abs(expected).max()


def test_a_corrected_bias_takes_the_mean_error_away():
    weights = {"w": random(5, 4, 1, 1) * np.array([30, 1, 1, 1], np.float32).reshape(1, 4, 1, 1)}
    body, means = "y = Conv (x, w)", []
    for correcting in (False, True):
        model, folded = graph(body, weights, y=("n", 5, 8, 8))
        shifted = [images + 5 for images in IMAGES]
        options = replace(PTQ, weight_bits=3, bias_correction=correcting)
        found = calibrate(model, folded, options, shifted)
        conv, grid = node(found.model, "Conv"), found.grids["w"].weight
        rounded = grid.integers * grid.along_axis(grid.scale)
        bias = conv.inputs[2].const_value.numpy()
        mean = np.concatenate(shifted).mean(axis=(0, 2, 3))
        means.append(np.abs((rounded - weights["w"])[:, :, 0, 0] @ mean + bias).max())
    assert means[1] < 1e-3 < 0.1 < means[0]


def test_rounding_of_weights_can_be_learned(tmp_path):
    weight, distances = random(5, 4, 3, 3), []
    images = [IMAGES[0][:, :1] + 0.1 * IMAGES[0]]  # channels alike, so that errors can make up for each other
    for learned in (None, {"iterations": 100}):
        model, folded = graph("y = Conv (x, w)", {"w": weight}, y=("n", 5, 6, 6))
        expected = answers(model, tmp_path, images=images[0])
        options = replace(PTQ, weight_bits=3, reconstruction=learned)
        calibrate(model, folded, options, images).write(tmp_path, layout="openvino", output="logits", images=images)
        distances.append(np.square(answers(None, tmp_path, images=images[0]) - expected).mean())
    assert distances[1] < 0.8 * distances[0]


@pytest.mark.parametrize("name", ["forward", "training", "parameters"])
def test_weights_may_be_called_as_what_every_layer_has(name):
    model = parse("y = Conv (x, given)", x=X, y=("n", 5, 8, 8), given=random(5, 4, 1, 1))
    model.graph.initializers["given"].name = f"{name}.weight"
    assert list(calibrate(model, simplify(model), PTQ, IMAGES).grids) == [f"{name}_1"]


def test_nodes_that_have_no_integer_form_stay_float_and_are_named(tmp_path):
    body = 'a = Conv <auto_pad = "SAME_LOWER"> (x, odd_weight)  y = Conv (a, w)'
    model, folded = graph(body, {"odd_weight": random(4, 4, 3, 3), "w": random(5, 4, 1, 1)}, y=("n", 5, 8, 8))
    written = calibrate(model, folded, PTQ, IMAGES).write(tmp_path, layout="openvino", output="logits", images=IMAGES)
    assert written.quantized == ["w"]
    assert written.notes == ["odd: Conv stays float: its padding depends on the image (SAME_LOWER)"]


def test_a_graph_with_nothing_to_quantize_is_refused():
    model, folded = graph("y = Relu (x)", {}, y=X)
    with pytest.raises(UserError, match="nothing in the model can be quantized"):
        calibrate(model, folded, PTQ, IMAGES)


def test_options_of_training_are_refused():
    model, folded = graph()
    with pytest.raises(ConfigError, match="by calibration alone"):
        calibrate(model, folded, QuantOptions(name="pact"), IMAGES)
    with pytest.raises(ConfigError, match="Slim.quant.bits: is for networks that a configuration builds"):
        calibrate(model, folded, replace(PTQ, bits={"target_bytes": 0.2}), IMAGES)


def test_rules_go_by_the_names_of_weights():
    model, folded = graph()
    found = calibrate(model, folded, replace(PTQ, skip=("head", "depthwise")), IMAGES)
    assert list(found.grids) == ["first", "up"]
    with pytest.raises(ConfigError, match="unknown layer 'hat'"):
        calibrate(*graph(), replace(PTQ, skip=("hat",)), IMAGES)

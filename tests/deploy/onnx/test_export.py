from __future__ import annotations

import copy
import logging
import re
import subprocess
import sys

import numpy as np
import paddle
import pytest
from paddle import nn
from support.onnx_extras import needs_onnx
from support.processes import PATIENCE
from support.processor import needs_dot_products

from ppcls_compress import models
from ppcls_compress.deploy.extras import absence, missing
from ppcls_compress.deploy.onnx import runtime
from ppcls_compress.deploy.onnx.export import LAYOUTS as EVERY
from ppcls_compress.deploy.onnx.export import export
from ppcls_compress.errors import UserError
from ppcls_compress.models.layers import ConvNormAct, SqueezeExcite
from ppcls_compress.slim import prune, quant
from ppcls_compress.slim.options import PruneOptions, QuantOptions

onnx = pytest.importorskip("onnx")
pytestmark = needs_onnx
SHAPE = (3, 16, 16)
LAYOUTS = tuple(layout for layout in EVERY if layout != "rknn")
"""Those of any batch size; RKNN's, which is TensorRT's with a batch of one, has tests of its own."""


class TinyNet(nn.Layer):
    """Hard-swish, depthwise, gate, residual sum, concatenation, classifier."""

    def __init__(self):
        super().__init__()
        self.stem = ConvNormAct(3, 8, 3, stride=2, act="hardswish")
        self.depthwise = ConvNormAct(8, 8, 3, groups=8, act="relu")
        self.gate = SqueezeExcite(8)
        self.pointwise = ConvNormAct(8, 8, 1, act=None)
        self.mix = ConvNormAct(16, 12, 1)
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        x = self.stem(x)
        y = x + self.pointwise(self.gate(self.depthwise(x)))
        return self.fc(self.flatten(self.pool(self.mix(paddle.concat([x, y], axis=1)))))


def images(count: int, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, *shape), np.float32)


def settle(model: nn.Layer, shape=SHAPE) -> nn.Layer:
    """Give the batch norms statistics and the logits a spread, so that answers differ between images."""
    model.train()
    with paddle.no_grad():
        for _ in range(20):
            model(paddle.to_tensor(images(16, shape)))
    model.eval()
    return model


def prepared(model: nn.Layer, shape=SHAPE, **options) -> nn.Layer:
    options = {"name": "pact", **options}
    quant.prepare(model, QuantOptions(**options), inputs=[[1, *shape]])
    quant.calibrate(model, [paddle.to_tensor(images(32, shape))])
    model.eval()
    return model


def tiny(**options) -> nn.Layer:
    paddle.seed(1)
    return prepared(settle(TinyNet()), **options)


def eager(model: nn.Layer, data: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        return model(paddle.to_tensor(data)).numpy()


def difference(path, name: str, expected: np.ndarray, data: np.ndarray) -> float:
    found = runtime.load(path, name, threads=1).run(data)
    return float(np.abs(found - expected).mean() / np.abs(expected).max())


def write(model: nn.Layer, folder, layout: str, **settings):
    settings = {"image_shape": SHAPE, "output": "logits", "calibration": [images(32)], **settings}
    return export(model, folder, layout=layout, **settings)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """A calibrated network and both of its exports."""
    model = tiny()
    folder = tmp_path_factory.mktemp("exports")
    return model, {layout: write(model, folder / layout, layout) for layout in LAYOUTS}


@pytest.mark.parametrize(("layout", "bound"), [("openvino", 0.005), ("ort", 0.02)])
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@needs_dot_products
def test_the_artifact_computes_what_training_computed(quantized, layout, bound, name):
    model, exports = quantized
    data = images(200)
    assert difference(exports[layout].path, name, eager(model, data), data) < bound


@pytest.mark.parametrize("layout", ["openvino", "ort"])
def test_it_runs_in_a_fresh_process_for_any_batch(quantized, layout, tmp_path):
    model, exports = quantized
    path = exports[layout].path
    np.save(tmp_path / "images.npy", images(3))
    program = (
        "import sys, numpy as np, onnxruntime\n"
        "path, folder = sys.argv[1:]\n"
        "session = onnxruntime.InferenceSession(path)\n"
        "x = np.load(folder + '/images.npy')\n"
        "whole = session.run(None, {'image': x})[0]\n"
        "single = [session.run(None, {'image': x[i:i + 1]})[0] for i in range(3)]\n"
        "np.testing.assert_allclose(np.concatenate(single), whole, atol=1e-4)\n"
        "np.save(folder + '/outputs.npy', whole)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path), str(tmp_path)], check=True, timeout=PATIENCE)
    expected = eager(model, images(3))
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), expected, atol=0.1 * np.abs(expected).max())


@needs_dot_products
def test_batch_sizes_beyond_the_first_share_one_network(quantized):
    model, exports = quantized
    session = runtime.load(exports["openvino"].path, "openvino", threads=1)
    for count in (1, 2, 3, 5, 7, 1):
        expected = eager(model, images(count))
        np.testing.assert_allclose(session.run(images(count)), expected, atol=0.05 * np.abs(expected).max())
    assert len(session.compiled) <= 4


SIGNAL_AFTER_SESSIONS = """
import os, signal, sys
import numpy as np
from ppcls_compress.deploy.onnx import runtime

for _ in range(3):
    session = runtime.load(sys.argv[1], "openvino", threads=1)
    for count in (1, 2, 3, 5):
        session.run(np.zeros((count, 3, 16, 16), np.float32))
    del session
heard = []
signal.signal(signal.SIGCHLD, lambda *_: heard.append(1))
os.kill(os.getpid(), signal.SIGCHLD)
print(len(heard))
"""


def test_a_signal_after_sessions_ended_reaches_its_handler(quantized):
    path = quantized[1]["openvino"].path
    command = [sys.executable, "-c", SIGNAL_AFTER_SESSIONS, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr[-500:]


@pytest.fixture(scope="module")
def pruned():
    """The network with three of eight channels removed from each layer, batch norms measured again."""
    paddle.seed(1)
    model, record = prune.prune(settle(TinyNet()), PruneOptions(pruned_ratio=0.4), [[1, *SHAPE]])
    assert record["after"]["params"] < 0.7 * record["before"]["params"]
    return settle(model)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pruned_network_is_exported_exactly(pruned, layout, tmp_path):
    path = write(pruned, tmp_path, layout).path
    for name in ("onnxruntime", "openvino"):
        expected = eager(pruned, images(8))
        np.testing.assert_allclose(runtime.load(path, name, threads=1).run(images(8)), expected, atol=1e-5)


@pytest.mark.parametrize(("layout", "bound"), [("openvino", 0.005), ("ort", 0.03)])
def test_a_pruned_and_quantized_network_computes_what_training_computed(pruned, layout, bound, tmp_path):
    model = prepared(copy.deepcopy(pruned))
    path = write(model, tmp_path, layout).path
    data = images(200)
    for name in ("onnxruntime", "openvino"):
        assert difference(path, name, eager(model, data), data) < bound
    expected = {"Convolution": (6, 6), "FullyConnected": (1, 1)}
    assert runtime.integer_share(path, "openvino") == expected


def test_integers_take_at_most_27_percent_of_the_floats(tmp_path):
    paddle.seed(0)
    model = nn.Sequential(
        nn.Conv2D(3, 64, 3), nn.Conv2D(64, 256, 3), nn.BatchNorm2D(256), nn.AdaptiveAvgPool2D(1), nn.Flatten()
    )
    whole = write(model, tmp_path / "float", "openvino").path.stat().st_size
    prepared(model)
    for layout in LAYOUTS:
        assert write(model, tmp_path / layout, layout).path.stat().st_size < 0.27 * whole


def test_every_layer_runs_on_an_integer_kernel(quantized):
    _, exports = quantized
    expected = {"Convolution": (6, 6), "FullyConnected": (1, 1)}
    assert runtime.integer_share(exports["ort"].path, "onnxruntime") == expected
    assert runtime.integer_share(exports["ort"].path, "openvino") == expected
    assert runtime.integer_share(exports["openvino"].path, "openvino") == expected


@pytest.mark.parametrize("layout", ["openvino", "ort"])
def test_weights_on_disk_are_integers_and_symmetric(quantized, layout):
    model, exports = quantized
    assert sorted(exports[layout].quantized) == sorted(quant.quant_layers(model))
    graph = onnx.load(str(exports[layout].path)).graph
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    floats = [
        value for value in constants.values() if value.dtype == np.float32 and value.size > max(value.shape, default=1)
    ]
    assert floats == []  # but for factors per channel
    rounding = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in constants]
    weights = [node for node in rounding if constants[node.input[0]].dtype == np.int8]
    assert len(weights) == 7
    assert all(not constants[node.input[2]].any() for node in weights)


def test_a_float_network_is_exported_exactly(tmp_path):
    paddle.seed(2)
    model = settle(TinyNet())
    written = write(model, tmp_path, "openvino", calibration=None, output="probabilities")
    expected = nn.functional.softmax(paddle.to_tensor(eager(model, images(8)))).numpy()
    assert written.quantized == []
    for name in ("onnxruntime", "openvino"):
        np.testing.assert_allclose(runtime.load(written.path, name, threads=1).run(images(8)), expected, atol=1e-5)
    assert [node.op_type for node in onnx.load(str(written.path)).graph.node].count("BatchNormalization") == 0


def test_a_network_with_several_labels_ends_in_a_sigmoid(tmp_path, quantized):
    model, _ = quantized
    written = write(model, tmp_path, "openvino", output="label_probabilities")
    expected = 1 / (1 + np.exp(-eager(model, images(8))))
    for name in ("onnxruntime", "openvino"):
        assert difference(written.path, name, expected, images(8)) < 0.005
    properties = {item.key: item.value for item in onnx.load(str(written.path)).metadata_props}
    assert properties["output"] == "label_probabilities"


def test_the_libraries_that_edit_graphs_tell_nothing(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        write(tiny(), tmp_path, "ort")
    assert [record.name for record in caplog.records if record.name.startswith("onnx")] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"grid": "moving_average"},
        {"name": "qat"},
        {"name": "qat", "activation_quantize_type": "abs_max"},
        {"name": "lsq"},
        {"name": "ptq"},
        {"weight_bits": 4, "activation_bits": 4},
        {"name": "lsq", "weight_bits": 3, "activation_bits": 3},
        {"name": "qat", "weight_bits": 3, "activation_bits": 3},
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
def test_every_way_to_quantize_has_an_exact_form(options, tmp_path):
    model, data = tiny(**options), images(64)
    written = write(model, tmp_path, "openvino", calibration=[images(32), data])
    assert difference(written.path, "openvino", eager(model, data), data) < 0.02


@needs_dot_products
def test_an_alpha_that_binds_is_kept_and_told(tmp_path):
    model = tiny(grid="moving_average")
    pact = quant.quant_layers(model)["mix.conv"]._fake_quant_input
    pact.learned.set_value(pact.learned * 0.3)
    written, data = write(model, tmp_path, "openvino"), images(64)
    assert difference(written.path, "openvino", eager(model, data), data) < 0.01
    constants = [onnx.numpy_helper.to_array(item) for item in onnx.load(str(written.path)).graph.initializer]
    wanted = pact.limit() / (255 if pact.unsigned else 127)
    assert any(value.ndim == 0 and np.isclose(value, wanted) for value in constants)


def test_more_than_eight_bits_stay_float_and_are_told(tmp_path):
    model, data = tiny(activation_bits=16), images(64)
    written = write(model, tmp_path, "ort")
    assert written.quantized == []
    assert paddle.in_dynamic_mode()
    assert paddle.get_flags("FLAGS_enable_pir_api")["FLAGS_enable_pir_api"]
    (note,) = (note for note in written.notes if "16-bit" in note)
    expected = (
        r"stem\.conv, \S+, \S+ and \d more: 8-bit weights and 16-bit activations have no integer kernel; float here.*"
    )
    assert re.fullmatch(expected, note)
    assert difference(written.path, "onnxruntime", eager(model, data), data) < 1e-3


def test_a_layer_that_was_never_calibrated_is_named(tmp_path):
    paddle.seed(1)
    model = settle(TinyNet())
    quant.prepare(model, QuantOptions(name="pact"))
    with pytest.raises(UserError, match=r"stem\.conv: its activation range is not calibrated"):
        write(model, tmp_path / "out", "openvino")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("calibration", [None, []])
def test_the_fast_layout_needs_images(calibration, tmp_path):
    with pytest.raises(UserError, match="calibration images are needed"):
        write(tiny(), tmp_path / "out", "ort", calibration=calibration)
    assert not (tmp_path / "out").exists()


def test_images_that_are_not_finite_are_refused(tmp_path):
    broken = images(4)
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(UserError, match="calibration images: a value is not finite"):
        write(tiny(), tmp_path, "ort", calibration=[broken])


def test_an_operator_without_onnx_form_is_named(tmp_path):
    class Unusual(TinyNet):
        def forward(self, x):
            return paddle.digamma(super().forward(x))

    with pytest.raises(UserError) as error:
        write(Unusual(), tmp_path / "out", "openvino", calibration=None)
    reasons = ["paddle2onnx: knows none of digamma", "p2o: Unsupported operator: digamma"]
    if missing(["paddle2onnx"]):
        reasons = [reasons[1], absence("paddle2onnx")]
    assert str(error.value) == f"the network has no ONNX form: {'; '.join(reasons)}"
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(bool(missing(["paddle2onnx"])), reason="paddle2onnx is not installed")
def test_settings_without_onnx_form_are_told_with_the_operators(tmp_path):
    class Unusual(TinyNet):
        def forward(self, x):
            channels_last = nn.functional.avg_pool2d(x.transpose([0, 2, 3, 1]), 3, 1, 1, data_format="NHWC")
            return super().forward(channels_last.transpose([0, 3, 1, 2]))

    with pytest.raises(
        UserError, match="unsupported features.*the operators of the network: .*conv2d.*pool2d"
    ) as error:
        write(Unusual(), tmp_path / "out", "openvino", calibration=None)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_unknown_layout_is_refused(tmp_path):
    with pytest.raises(UserError, match="unknown ONNX layout 'tensorrt'"):
        write(TinyNet(), tmp_path, "tensorrt")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_damaged_file_is_named(name, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x07 cut")
    with pytest.raises(UserError, match=rf"model\.onnx: {name} cannot load it"):
        runtime.load(path, name, threads=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arch", ["CIFARResNet8", "ResNet18_vd", "MobileNetV3_small_x0_35", "PPLCNet_x0_25", "PPHGNet_tiny"]
)
def test_every_native_family(arch, tmp_path):
    shape = (3, 32, 32)
    paddle.seed(0)
    model = prepared(settle(models.build(arch, class_num=7), shape), shape)
    data = images(32, shape)
    expected = eager(model, data)
    # Untrained networks amplify how runtimes round: 1e-4 of the input moves PPHGNet's logits by 3.6% in Paddle itself.
    for layout in LAYOUTS:
        written = write(model, tmp_path / layout, layout, image_shape=shape, calibration=[images(16, shape)])
        if layout in (
            "qdq",
            "rknn",
        ):  # their grids have a zero point of 0 and so are coarser; no runtime here takes them
            batches = data if layout == "qdq" else data[:1]
            assert difference(written.path, "onnxruntime", expected[: len(batches)], batches) < 0.1
            continue
        for name in ("onnxruntime", "openvino"):
            assert difference(written.path, name, expected, data) < 0.05
        for done, whole in runtime.integer_share(written.path, "openvino").values():
            assert done == whole

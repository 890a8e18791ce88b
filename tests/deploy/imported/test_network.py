import numpy as np
import pytest
from support.onnx_extras import needs_onnx

onnx = pytest.importorskip("onnx")
pytestmark = needs_onnx

from support import foreign  # noqa: E402

from ppcls_compress.deploy.imported import network, source  # noqa: E402
from ppcls_compress.deploy.onnx import foreign as reader  # noqa: E402
from ppcls_compress.errors import UserError  # noqa: E402

IMAGES = np.random.default_rng(2).standard_normal((3, 3, foreign.SIZE, foreign.SIZE)).astype(np.float32)


def written(folder, proto, name="model.onnx"):
    (folder / name).write_bytes(proto.SerializeToString())
    return folder / name


def external(folder, **facts):
    """The model, its first weight in another file."""
    proto = foreign.model()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in facts.items():
        tensor.external_data.add(key=key, value=str(value))
    return written(folder, proto)


def test_a_model_for_one_image_answers_as_it_did_for_any_number(tmp_path):
    path = written(tmp_path, foreign.model())
    found = network.open_network(source.find(tmp_path), IMAGES)
    expected = [onnx.reference.ReferenceEvaluator(str(path)).run(None, {"photo": image[None]})[0] for image in IMAGES]
    logits = found.runner()(IMAGES)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores, np.concatenate(expected), atol=1e-5)
    assert found.output == "probabilities"
    assert found.params == sum(int(np.prod(shape)) for shape in foreign.SHAPES.values()) + 8  # the bias made for c


def test_functions_of_the_file_are_written_out(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]> net (float[n, 3, 16, 16] x) => (float[n, 4] y) {
        a = own.twice (x)  b = Flatten (a)  y = MatMul (b, w)
    }
    <domain: "own", opset_import: ["" : 17]> twice (u) => (v) { v = Add (u, u) }"""
    proto = onnx.parser.parse_model(text)
    weight = np.random.default_rng(0).standard_normal((768, 4)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    written(tmp_path, proto)
    found = network.open_network(source.find(tmp_path), IMAGES)
    np.testing.assert_allclose(found.runner()(IMAGES), 2 * IMAGES.reshape(3, -1) @ weight, rtol=1e-3, atol=1e-3)


def test_a_model_that_takes_values_in_rows_is_given_images(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 17]> net (float[n, 768] x) => (float[n, 4] y) { y = MatMul (x, w) }"""
    proto = onnx.parser.parse_model(text)
    weight = np.random.default_rng(0).standard_normal((768, 4)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    written(tmp_path, proto)
    found = network.open_network(source.find(tmp_path), IMAGES)
    np.testing.assert_allclose(found.runner()(IMAGES), IMAGES.reshape(3, -1) @ weight, rtol=1e-3, atol=1e-3)


def test_weights_in_a_file_beside_the_model_are_read(tmp_path):
    weight = onnx.numpy_helper.to_array(foreign.model().graph.initializer[0])
    (tmp_path / "weights.bin").write_bytes(b"1234" + weight.tobytes())
    path = external(tmp_path, location="weights.bin", offset=4, length=weight.nbytes)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(reader.read(path).graph.initializer[0]), weight)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"location": "../weights.bin"}, "'../weights.bin', which is outside the model's folder"),
        ({"location": "/etc/hostname"}, "'/etc/hostname', which is outside the model's folder"),
        ({"location": "link.bin"}, "'link.bin', which is outside the model's folder"),
        ({"location": "none.bin"}, "none.bin, which is not there"),
        ({"location": "short.bin", "length": 864}, "reaches beyond the end of"),
        ({"location": "short.bin", "offset": "far"}, "is no number"),
    ],
)
def test_weights_elsewhere_are_not_read(tmp_path, facts, expected):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(864))
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    (folder / "short.bin").write_bytes(bytes(16))
    with pytest.raises(UserError, match=expected):
        reader.read(external(folder, **facts))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([("photo)", "photo, float[1, 4] more)"), ("Softmax <axis = 1> (g)", "Add (g, more)")], "takes 2 inputs"),
        ([("float[1, 3, 16, 16]", "float[1, 3, 768]")], r"takes float \[1, 3, 768\]; float images"),
        ([("float[1, 3, 16, 16]", "float[1, 64]")], r"takes 64 values in a row, its preprocessing gives \[3, 16, 16\]"),
        ([("float[1, 3, 16, 16]", "double[1, 3, 16, 16]")], "takes double"),
        ([("scores) {", "scores, float[1, 8, 1, 1] e) {")], r"gives 2 outputs \(scores, e\); name the one"),
        ([("float[1, 4] scores", "float[1, 8, 8, 8] d")], "class scores, attributes or features"),
        ([("3, 16, 16", "3, 32, 32")], r"takes images \[3, 32, 32\], its preprocessing gives \[3, 16, 16\]"),
        ([("b = Relu (a)", "b = Relu (a)  huge = ConstantOfShape (far)")], "has 10,000,000,000,000 elements"),
    ],
)
def test_other_models_are_refused_in_a_line(tmp_path, changes, expected):
    proto = foreign.model(*changes)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([10**7, 10**6]), "far"))
    written(tmp_path, proto)
    with pytest.raises(UserError, match=expected) as caught:
        network.open_network(source.find(tmp_path), IMAGES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"hello", foreign.model().SerializeToString()[:900], bytes(range(256))])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(UserError, match="not an ONNX model|not a sound ONNX model"):
        reader.read(tmp_path / "model.onnx")


def channels_last(text):
    """The model for images [N, H, W, C], as exporters of TensorFlow write it."""
    turned = text.replace("float[1, 3, 16, 16] photo", "float[1, 16, 16, 3] photo")
    return turned.replace("a = Conv", "p = Transpose <perm = [0, 3, 1, 2]> (photo)  a = Conv").replace(
        "(photo, stem", "(p, stem"
    )


def as_half(proto):
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))
    return proto


def logits_of(folder, images=IMAGES):
    found = network.open_network(source.find(folder), images)
    return found, found.runner()(images)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    written(folder, foreign.model())
    return logits_of(folder)[1]


def test_images_with_their_channels_last_are_turned_and_no_turning_is_left(tmp_path, expected):
    proto = foreign.model()
    again = onnx.parser.parse_model(channels_last(foreign.TEXT))
    again.graph.initializer.extend(proto.graph.initializer)
    written(tmp_path, again)
    found, logits = logits_of(tmp_path)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    assert found.image_shape == (3, 16, 16)
    assert "Transpose" not in {node.op_type for node in found.graph.graph}


def test_what_is_computed_before_images_are_turned_still_is(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 17]> net (float[n, 16, 16, 3] x) => (float[n, 4] y) {
        a = Mul (x, k)  b = Transpose <perm = [0, 3, 1, 2]> (a)  c = Flatten (b)  y = MatMul (c, w)
    }"""
    proto = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    scale, weight = (rng.standard_normal(shape).astype(np.float32) for shape in ((3,), (768, 4)))
    proto.graph.initializer.extend(
        [onnx.numpy_helper.from_array(scale, "k"), onnx.numpy_helper.from_array(weight, "w")]
    )
    written(tmp_path, proto)
    scaled = IMAGES * scale[:, None, None]
    np.testing.assert_allclose(logits_of(tmp_path)[1], scaled.reshape(3, -1) @ weight, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        [
            ("a = Conv", "h = Cast <to = 10> (photo)  a = Conv"),
            ("(photo, stem", "(h, stem"),
            ("scores = Softmax <axis = 1> (g)", "s = Softmax <axis = 1> (g)  scores = Cast <to = 1> (s)"),
        ],
        [("float[1, 3, 16, 16]", "float16[1, 3, 16, 16]"), ("float[1, 4]", "float16[1, 4]")],
    ],
)
def test_a_model_in_half_precision_is_read_in_float(tmp_path, changes, expected):
    written(tmp_path, as_half(foreign.model(*changes)))
    found, logits = logits_of(tmp_path)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=5e-3 * np.abs(expected).max())
    assert "Cast" not in {node.op_type for node in found.graph.graph}


def test_one_number_for_each_class_that_pooling_gives_is_flattened(tmp_path):
    written(tmp_path, foreign.model(("float[1, 4] scores", "float[1, 8, 1, 1] e")))
    found, answers = logits_of(tmp_path)
    assert found.classes == 8
    assert answers.shape == (3, 8)

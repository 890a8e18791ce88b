"""What the functions of the Python API are given: each mistake is one line, and nothing is written."""

import numpy as np
import paddle
import pytest

import ppcls_compress as pc
from ppcls_compress import arguments
from ppcls_compress.deploy import artifact

SHAPE = [1, 3, 8, 8]
QUANT = {"quant": {"name": "ptq"}}


def build():
    paddle.seed(0)
    layers = paddle.nn.Conv2D(3, 4, 3, padding=1), paddle.nn.AdaptiveAvgPool2D(1), paddle.nn.Flatten()
    network = paddle.nn.Sequential(*layers, paddle.nn.Linear(4, 3))
    network.eval()
    return network


@pytest.fixture
def images():
    return np.random.default_rng(0).standard_normal((6, *SHAPE[1:])).astype(np.float32)


def told(function, *given, **named):
    with pytest.raises(pc.UserError) as error:
        function(*given, **named)
    (line,) = str(error.value).splitlines()
    return line


@pytest.mark.parametrize("batches", [3, "photos", {"images": 1}])
@pytest.mark.parametrize("function", [pc.compress, pc.analyze])
def test_what_gives_no_batches(function, batches):
    given = {"batches": batches, "example": SHAPE}
    assert "batches: expected a paddle.io.DataLoader, a list" in told(function, build(), QUANT, **given)


@pytest.mark.parametrize("number", [0, -1, "x", 2.5, True])
def test_what_is_no_number_of_batches(number, images):
    given = {"batches": images, "calibration_batches": number, "example": SHAPE}
    for function in (pc.compress, pc.analyze):
        assert "calibration_batches: expected a whole number" in told(function, build(), QUANT, **given)


def test_a_number_of_numpys_is_one(images):
    _, record = pc.compress(build(), QUANT, example=SHAPE, batches=images, calibration_batches=np.int64(1))
    assert [step["kind"] for step in record["steps"]] == ["quant"]


def test_records_that_are_none_or_of_another_network(images, tmp_path):
    small, record = pc.compress(build(), QUANT, example=SHAPE, batches=images)
    lacking = {"version": 1, "steps": []}
    for call in (
        lambda net, record: pc.save(net, record, tmp_path / "small"),
        lambda net, record: pc.export(net, tmp_path / "inference", record=record, check=images),
        lambda net, record: pc.compress(net, QUANT, example=SHAPE, batches=images, record=record),
    ):
        assert "give the record that compress or load returned, found 'x'" in told(call, small, "x")
        assert "record: not a compression record: version None found" in told(call, small, {})
        assert "record: not a compression record: steps[0].kind" in told(call, small, {"version": 1, "steps": [{}]})
        assert "the network is quantized; give the record" in told(call, small, lacking)
        assert "tells of a quantization, which the network lacks" in told(call, build(), record)
    assert "found Sequential(" in told(pc.save, small, small, tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


def test_a_pruning_record_whose_shapes_are_not_those_of_the_network(images, tmp_path):
    half, a_half = pc.compress(build(), {"prune": {"pruned_ratio": 0.5, "prune_type": "conv"}}, example=SHAPE)
    less, a_quarter = pc.compress(build(), {"prune": {"pruned_ratio": 0.25, "prune_type": "conv"}}, example=SHAPE)
    for net, record, left, here in (
        (half, a_quarter, 3, 2),
        (less, a_half, 2, 3),
        (build(), a_half, 2, 4),
        (paddle.DataParallel(build()), a_half, 2, 4),
    ):
        shapes = f"'0.weight' with the shape [{left}, 3, 3, 3], here it is [{here}, 3, 3, 3]"
        for name, call in {
            "save": lambda net, record: pc.save(net, record, tmp_path / "small"),
            "export": lambda net, record: pc.export(net, tmp_path / "inference", record=record, check=images),
            "compress": lambda net, record: pc.compress(
                net, {"prune": {}, **QUANT}, example=SHAPE, batches=images, record=record
            ),
        }.items():
            line = f"{name}: the record is not that of this network: the pruning record left {shapes}"
            assert told(call, net, record) == line
    assert "names '0.bias', which this network does not have" in told(
        pc.save, paddle.nn.Sequential(paddle.nn.Conv2D(3, 2, 3, bias_attr=False)), a_half, tmp_path / "small"
    )
    line = "the pruning record left '0.bias' with the shape [2], here it is []"
    flat = paddle.nn.Sequential(paddle.nn.Conv2D(3, 2, 3))
    flat[0].bias = paddle.create_parameter([], "float32")
    assert line in told(pc.save, flat, a_half, tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_was_pruned_again_and_quantized_fits_its_record(images, tmp_path):
    slim = {"prune": {"pruned_ratio": 0.5, "iterative": {"steps": 2}}, "quant": {"name": "ptq", "fuse_conv_bn": True}}
    dense = [paddle.nn.Conv2D(3, 8, 3), paddle.nn.BatchNorm2D(8), paddle.nn.Conv2D(8, 4, 3), *build()[1:]]
    small, record = pc.compress(
        paddle.nn.Sequential(*dense), slim, example=SHAPE, batches=images, train=lambda network, record: None
    )
    assert [step["kind"] for step in record["steps"]] == ["prune", "prune", "quant"]
    assert any(name.startswith("1.") for name in record["steps"][0]["kept"])  # the batch norm, which is folded now
    pc.save(small, record, tmp_path / "small")
    pc.save(paddle.DataParallel(small), record, tmp_path / "small")


def test_a_record_of_a_quantization_of_other_layers(images, tmp_path):
    small, record = pc.compress(build(), QUANT, example=SHAPE, batches=images)
    part, of_part = pc.compress(build(), {"quant": {"name": "ptq", "skip": ["0"]}}, example=SHAPE, batches=images)
    line = "save: the record is not that of this network: '0' is"
    assert told(pc.save, part, record, tmp_path / "a") == f"{line} not quantized here, as the record says"
    assert told(pc.save, small, of_part, tmp_path / "a") == f"{line} quantized here, the record does not say so"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["", None, 3, ["small"], "/"])
def test_what_is_no_path(path, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small, record = pc.compress(build(), {"prune": {}}, example=SHAPE)
    assert "save: expected a path such as" in told(pc.save, small, record, path)
    assert "load: expected a path such as" in told(pc.load, build(), path)
    assert "export: expected a path such as" in told(pc.export, build(), path, check=images)
    assert "expected a paddle.nn.Layer, found str" in told(pc.load, "small", build())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("here", [".", "./"])
def test_a_network_may_be_exported_into_the_folder_that_the_process_is_in(here, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pc.export(build(), here, check=images)
    assert (tmp_path / "inference.json").is_file()


NAN = np.full((2, *SHAPE[1:]), np.nan, np.float32)
LABELS = np.zeros(6, np.int64)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"check": "photos"}, "check: expected an array of numbers, found 'photos'"),
        ({"check": (1, 2, 3)}, "check: expected images [N, C, H, W], found [3]"),
        ({"check": []}, "check: expected images [N, C, H, W], found [0]"),
        ({"check": NAN}, "check: image 1 holds a value that is not finite"),
        ({"check": (..., LABELS[1:])}, "check: 5 labels for 6 images"),
        ({"check": (..., ["cat"] * 6)}, "check: labels: expected an array of numbers"),
        ({"check": (..., LABELS + 3)}, "check: image 1 has label 3; classes are 0 to 2"),
        ({"check": (..., LABELS - 1)}, "check: image 1 has label -1; classes are 0 to 2"),
        ({"calibration": 3}, "calibration: expected images [N, C, H, W], found []"),
        ({"check": None}, "give images to compare on"),
        ({"check": None, "image_shape": (3, 8)}, "image_shape: expected (channels, height, width), found (3, 8)"),
        ({"check": None, "image_shape": np.array(3)}, "image_shape: expected (channels, height, width)"),
        ({"check": None, "image_shape": (3, 8, True)}, "image_shape: expected (channels, height, width)"),
        ({"check": None, "image_shape": (3, 8, -1)}, "image_shape: expected (channels, height, width)"),
        ({"class_names": ["cat"]}, "class_names: 1 names for the 3 classes of the network"),
        ({"class_names": "cat"}, "class_names: expected a list of names, found 'cat'"),
        ({"agreement": 2}, "agreement: expected less than or equal to 1, found 2"),
        ({"agreement": {"padle": 0.5}}, "agreement: unknown export format 'padle'; did you mean 'paddle'?"),
        ({"preprocess": [{"ResizeImag": {}}]}, "preprocess: unknown transform 'ResizeImag'; did you mean"),
        ({"formats": []}, "formats: expected names such as"),
        ({"formats": 3}, "formats: expected names such as"),
    ],
)
def test_what_cannot_be_exported_with(given, text, images, tmp_path):
    check = given.get("check", images)
    if isinstance(check, tuple) and check[0] is ...:
        check = (images, check[1])
    assert text in told(pc.export, build(), tmp_path / "inference", **{**given, "check": check})
    assert list(tmp_path.iterdir()) == []


def test_images_and_labels_may_be_a_list_too(images, tmp_path):
    network = build()
    (result,) = pc.export(network, tmp_path / "inference", check=[images, paddle.to_tensor(LABELS)])
    assert result.parity.accuracy_model == np.mean(network(paddle.to_tensor(images)).numpy().argmax(axis=1) == LABELS)


class Batches:
    """What can be iterated over by positions alone."""

    def __init__(self, images):
        self.images = images

    def __getitem__(self, position):
        return self.images[[2 * position, 2 * position + 1]]


def test_lists_may_be_arrays_or_whatever_gives_entries(images, tmp_path):
    names = {"cat": 0, "dog": 1, "fox": 2}
    for class_names, formats in ((names.keys(), iter(["paddle"])), (np.array(list(names)), ("paddle",))):
        pc.export(build(), tmp_path, check=images, formats=formats, class_names=class_names)
        assert artifact.load(tmp_path).description.class_names == tuple(names)
    assert arguments.compared_on(None, np.array(SHAPE[1:])).images.shape[1:] == tuple(SHAPE[1:])
    _, record = pc.compress(build(), QUANT, example=SHAPE, batches=Batches(images))
    assert [step["kind"] for step in record["steps"]] == ["quant"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_single_images_in_a_list_are_images(count, images):
    for check in (list(images[:count]), [paddle.to_tensor(image) for image in images[:count]]):
        found = arguments.compared_on(check, None)
        assert found.labels is None
        np.testing.assert_array_equal(found.images, images[:count])


@pytest.mark.parametrize("number", ["threads", "batch", "rounds"])
def test_benchmarks_take_at_least_one_of_each(number, images, tmp_path):
    pc.export(build(), tmp_path / "inference", check=images)
    for wrong in (0, "2", 1.5):
        line = told(pc.benchmark, {"dense": tmp_path / "inference"}, **{number: wrong})
        assert f"{number}: expected a whole number of at least 1, found {wrong!r}" in line

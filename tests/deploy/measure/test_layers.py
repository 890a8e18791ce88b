import json

import paddle
import pytest

from ppcls_compress.config.load import validate
from ppcls_compress.deploy.measure import profile_file
from ppcls_compress.deploy.measure.layers import Layer, Shape, Table, Times, Whole, layers_of, measure
from ppcls_compress.engine import assemble
from ppcls_compress.errors import UserError
from ppcls_compress.slim import branches, cost

CONV = Shape("conv", (3, 3), (1, 1), (8, 8), padding=(1, 1, 1, 1))
WIDE = Shape("depthwise", (3, 3), (1, 1), (8, 8))


def table():
    points = {(a, b): Times(float(a * b), a * b / 4, float(a)) for a in (4, 8, 16) for b in (4, 16)}
    wide = {(8, 8): Times(1.0, 3.0, 0.5)}
    return Table({"machine": "m"}, {CONV: points, WIDE: wide}, {"float": Whole(rest=2.0)})


def test_times_are_interpolated_over_both_numbers_of_channels():
    assert table().times(Layer("a", CONV, 8, 16)) == Times(128.0, 32.0, 8.0)
    assert table().times(Layer("a", CONV, 6, 10)) == Times(60.0, 15.0, 6.0)
    assert table().times(Layer("a", CONV, 2, 4)) == table().times(Layer("a", CONV, 4, 4))  # none smaller was timed


def test_a_network_takes_what_its_layers_take_and_the_rest():
    layers = [Layer("a", CONV, 4, 4), Layer("b", WIDE, 8, 8)]
    assert table().predicted(layers) == 2.0 + 16 + 1
    assert table().predicted(layers, {"a"}) == 4 + 1  # no rest of a file with integers is known
    assert table().predicted(layers, {"a", "b"}) == 4 + 3


def test_a_layer_that_was_not_timed_is_told():
    expected = r"no layer such as stem: conv 3x3/2 of 8x8, 1-1-1-1 padded; make it with ppcls-compress profile"
    with pytest.raises(UserError, match=expected):
        table().times(Layer("stem", Shape("conv", (3, 3), (2, 2), (8, 8), padding=(1, 1, 1, 1)), 4, 4))


def test_layers_that_take_longer_alone_than_in_a_network_leave_no_rest_below_zero():
    assert Whole.of(3.0, 2.0) == Whole(1.0, 1.0)
    assert Whole.of(3.0, 4.0) == Whole(0.75, 0.0)
    slower = Table({}, table()._points, {"float": Whole.of(8.0, 16.0)})
    assert slower.predicted([Layer("a", CONV, 4, 4)]) == 8.0


def test_a_profile_is_read_as_it_was_written(tmp_path):
    table().save(tmp_path / "profile.json")
    found = Table.load(tmp_path / "profile.json")
    assert (found.about, found.whole) == ({"machine": "m"}, {"float": Whole(rest=2.0)})
    assert found.times(Layer("a", CONV, 6, 10)) == table().times(Layer("a", CONV, 6, 10))


def changed(content, path, value):
    *most, last = path
    for key in most:
        content = content[key]
    content[last] = value


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("version",), 1, ": version 1 of a profile; 2 is known here, make it again"),
        (("unit",), "s", ": unit: "),
        (("layers",), {}, ": layers: "),
        (("layers",), [], ": layers: "),
        (("whole",), 3, ": whole: "),
        (("whole", "float", "rest"), -1.0, ": whole.float.rest: expected greater than or equal to 0, found -1"),
        (("whole", "float", "scale"), 1.5, ": whole.float.scale: "),
        (("about", "threads"), "two", ": about.threads: expected a whole number from 1, found 'two'"),
        (("layers", 1, "ms", "float"), float("nan"), ": layers.1.ms.float: "),
        (("layers", 1, "ms", "integer"), -0.5, ": layers.1.ms.integer: expected greater than 0, found -0.5"),
        (("layers", 1, "ms", "switch"), "0.1", ": layers.1.ms.switch: "),
        (("layers", 1, "ms", "float"), True, ": layers.1.ms.float: "),
        (("layers", 1, "ms"), {"float": 1.0, "integer": 1.0}, ": layers.1.ms.switch: "),
        (("layers", 1, "us"), {}, ": layers.1: unknown key 'us'"),
        (("layers", 1, "kind"), "pool", ": layers.1.kind: "),
        (("layers", 1, "stride"), 2, ": layers.1.stride: "),
        (("layers", 1, "inputs"), 0, ": layers.1.inputs: "),
        (("layers", 1, "ms", "float"), 1e-9, ": layers.1.ms.float: 1e-09 ms for "),
    ],
)
def test_a_value_that_no_profile_has_is_one_line_with_its_key(tmp_path, path, value, expected):
    file = tmp_path / "profile.json"
    table().save(file)
    content = json.loads(file.read_text())
    changed(content, path, value)
    file.write_text(json.dumps(content))
    with pytest.raises(UserError) as told:
        Table.load(file)
    assert str(told.value).startswith(f"{file}{expected}")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("content", [[], {}, {"version": 2}])
def test_another_file_is_no_profile(tmp_path, content):
    (tmp_path / "other.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="is no profile that ppcls-compress profile wrote"):
        Table.load(tmp_path / "other.json")


def network():
    nn = paddle.nn
    return nn.Sequential(
        nn.Conv2D(3, 8, 3, padding=1),
        nn.BatchNorm2D(8),
        nn.Conv2D(8, 8, 3, stride=2, padding=1, groups=8),
        nn.Conv2D(8, 4, 1, groups=2),
        nn.AdaptiveAvgPool2D(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )


def test_the_layers_of_a_network():
    assert layers_of(network(), (3, 8, 8)) == [
        Layer("0", CONV, 3, 8),
        Layer("2", Shape("depthwise", (3, 3), (2, 2), (8, 8), padding=(1, 1, 1, 1)), 8, 8),
        Layer("3", Shape("conv", (1, 1), (1, 1), (4, 4), 2), 8, 4),
        Layer("6", Shape("linear"), 4, 5),
    ]


@pytest.mark.parametrize(
    ("options", "stride", "dilation", "padding"),
    [
        ({"stride": (2, 1)}, (2, 1), (1, 1), (0, 0, 0, 0)),
        ({"dilation": 2, "padding": (2, 1)}, (1, 1), (2, 2), (2, 1, 2, 1)),
        ({"padding": (0, 1, 2, 3)}, (1, 1), (1, 1), (0, 2, 1, 3)),
        ({"padding": "SAME", "stride": 2, "dilation": 2}, (2, 2), (1, 1), (0, 0, 1, 1)),
        ({"padding": "VALID"}, (1, 1), (1, 1), (0, 0, 0, 0)),
    ],
)
def test_whatever_changes_the_work_of_a_layer_is_part_of_its_shape(options, stride, dilation, padding):
    conv = paddle.nn.Conv2D(3, 4, 3, **options)
    (layer,) = layers_of(paddle.nn.Sequential(conv), (3, 8, 8))
    assert layer.shape == Shape("conv", (3, 3), stride, (8, 8), dilation=dilation, padding=padding)
    row = profile_file.Row(**vars(layer.shape), inputs=3, outputs=4, ms={"float": 1.0, "integer": 1.0, "switch": 1.0})
    assert row.multiply_adds == cost.count(conv, [[1, 3, 8, 8]]).flops


def test_linear_layers_know_how_many_vectors_they_read():
    model = paddle.nn.Sequential(paddle.nn.Flatten(2), paddle.nn.Linear(64, 5))
    assert layers_of(model, (3, 8, 8)) == [Layer("1", Shape("linear", size=(3, 1)), 64, 5)]


def test_branches_count_as_what_they_are_merged_to():
    config = validate({"Arch": {"name": "RepVGG_A0", "class_num": 3}}, source="test")
    model = assemble.build_dense(config)
    before = {name for name, _ in model.named_sublayers()}
    found = layers_of(model, (3, 32, 32))
    assert {name for name, _ in model.named_sublayers()} == before
    branches.merge(model)
    assert found == layers_of(model, (3, 32, 32))
    assert all("reparam" in layer.name for layer in found[:-1])


def test_every_kind_of_layer_is_timed():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    found = layers_of(network(), (3, 8, 8))
    timed = measure(found, "onnxruntime")
    assert all(min(vars(timed.times(layer)).values()) > 0 for layer in found)
    assert timed.about["runtime"] == "onnxruntime"
    with pytest.raises(UserError, match="not in paddle"):
        measure(found, "paddle")

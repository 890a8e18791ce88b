import json

import paddle
import pytest

from ppcls_compress.deploy.measure.layers import Layer, Shape, Table, Times, layers_of, measure
from ppcls_compress.errors import UserError

CONV = Shape("conv", (3, 3), 1, (8, 8))


def table():
    points = {(a, b): Times(float(a * b), a * b / 4, float(a)) for a in (4, 8, 16) for b in (4, 16)}
    wide = {(8, 8): Times(1.0, 3.0, 0.5)}
    return Table({"machine": "m"}, {CONV: points, Shape("depthwise", (3, 3), 1, (8, 8)): wide}, {"float": 2.0})


def test_times_are_interpolated_over_both_numbers_of_channels():
    assert table().times(Layer("a", CONV, 8, 16)) == Times(128.0, 32.0, 8.0)
    assert table().times(Layer("a", CONV, 6, 10)) == Times(60.0, 15.0, 6.0)
    assert table().times(Layer("a", CONV, 2, 4)) == table().times(Layer("a", CONV, 4, 4))  # none smaller was timed


def test_a_network_takes_what_its_layers_take_and_the_rest():
    layers = [Layer("a", CONV, 4, 4), Layer("b", Shape("depthwise", (3, 3), 1, (8, 8)), 8, 8)]
    assert table().predicted(layers) == 2.0 + 16 + 1
    assert table().predicted(layers, {"a"}) == 4 + 1  # no rest of a file with integers is known
    assert table().predicted(layers, {"a", "b"}) == 4 + 3


def test_a_layer_that_was_not_timed_is_told():
    with pytest.raises(UserError, match=r"no layer such as stem: conv 3x3/2 of 8x8; make it with tools/profile.py"):
        table().times(Layer("stem", Shape("conv", (3, 3), 2, (8, 8)), 4, 4))


def test_a_profile_is_read_as_it_was_written(tmp_path):
    table().save(tmp_path / "profile.json")
    found = Table.load(tmp_path / "profile.json")
    assert (found.about, found.rest) == ({"machine": "m"}, {"float": 2.0})
    assert found.times(Layer("a", CONV, 6, 10)) == table().times(Layer("a", CONV, 6, 10))


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"version": 7}, "version 7 of a profile"), ({"layers": [{}]}, "is no profile"), ({"rest": 3}, "is no profile")],
)
def test_another_file_is_refused(tmp_path, change, expected):
    table().save(tmp_path / "profile.json")
    content = json.loads((tmp_path / "profile.json").read_text())
    (tmp_path / "profile.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(UserError, match=expected):
        Table.load(tmp_path / "profile.json")


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
        Layer("0", Shape("conv", (3, 3), 1, (8, 8)), 3, 8),
        Layer("2", Shape("depthwise", (3, 3), 2, (8, 8)), 8, 8),
        Layer("3", Shape("conv", (1, 1), 1, (4, 4), 2), 8, 4),
        Layer("6", Shape("linear"), 4, 5),
    ]


def test_every_kind_of_layer_is_timed():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    found = layers_of(network(), (3, 8, 8))
    timed = measure(found, "onnxruntime")
    assert all(min(vars(timed.times(layer)).values()) > 0 for layer in found)
    assert timed.about["runtime"] == "onnxruntime"
    with pytest.raises(UserError, match="not in paddle"):
        measure(found, "paddle")

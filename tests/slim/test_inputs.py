"""What a network takes, described in any form; and networks that take and give several tensors, through all of slim."""

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

from ppcls_compress.errors import UserError
from ppcls_compress.slim import PTQ, QAT, FPGMFilterPruner, L1NormFilterPruner, L2NormFilterPruner, dygraph_flops, quant
from ppcls_compress.slim.graph import capture
from ppcls_compress.slim.inputs import example, specs, tensors, told, with_dtypes


@pytest.mark.parametrize(
    ("inputs", "shapes"),
    [
        ([1, 3, 8, 8], [[1, 3, 8, 8]]),
        ([[None, 3, 8, 8]], [[1, 3, 8, 8]]),
        ([(2, 3), [-1, 4]], [[2, 3], [1, 4]]),
        (InputSpec([None, 3], "int64"), [[1, 3]]),
        ([InputSpec([2, 3], "float64"), [4]], [[2, 3], [4]]),
        (paddle.zeros([2, 5]), [[2, 5]]),
    ],
)
def test_inputs_are_described_in_several_ways(inputs, shapes):
    assert [list(spec.shape) for spec in specs(inputs)] == shapes
    assert [list(tensor.shape) for tensor in example(inputs)] == shapes


def test_dictionaries_describe_named_inputs_and_tensors_are_used_as_they_are():
    given = paddle.ones([1, 2])
    found = specs([{"image": [1, 3, 8, 8], "mask": given}])
    assert {key: list(spec.shape) for key, spec in found[0].items()} == {"image": [1, 3, 8, 8], "mask": [1, 2]}
    drawn = example([{"image": [1, 3, 8, 8], "mask": given}])[0]
    assert drawn["mask"] is given
    assert drawn["image"].shape == [1, 3, 8, 8]


@pytest.mark.parametrize(("shape", "small"), [([1, 3, 224, 224], [1, 3, 64, 64]), ([1, 224, 160, 3], [1, 64, 64, 3]),
                                              ([1, 3, 20, 20], [1, 3, 20, 20]), ([4, 300], [4, 300])])  # fmt: skip
def test_examples_are_made_smaller_along_height_and_width_only(shape, small):
    assert example([shape], scale=4)[0].shape == small
    assert str(example(InputSpec([2, 3], "int64"))[0].dtype) == "paddle.int64"


def test_other_values_lie_beside_the_tensors():
    array = np.ones([2, 3], "int64")
    given = [{"x": [1, 3, 8, 8], "inner": [array, {"flag": True, "name": "text", "none": None}]}, ([2, 4], 0.5)]
    first, second = specs(given)
    assert (list(first["x"].shape), first["inner"][1]) == ([1, 3, 8, 8], {"flag": True, "name": "text", "none": None})
    assert (list(first["inner"][0].shape), str(first["inner"][0].dtype)) == ([2, 3], "paddle.int64")
    assert (list(second[0].shape), second[1]) == ([2, 4], 0.5)
    np.testing.assert_array_equal(example(given)[0]["inner"][0].numpy(), array)
    assert [tensor.shape for tensor in tensors(example(given))] == [[1, 3, 8, 8], [2, 3], [2, 4]]
    assert "'text'" in told(given)


@pytest.mark.parametrize("nothing", [[], {}, None, "text", [1, 3, "x", 8], [{"note": "text"}], [True]])
def test_what_describes_no_tensor_is_refused(nothing):
    with pytest.raises(UserError, match="inputs: expected a shape"):
        specs(nothing)


def test_one_type_for_all_shapes_or_one_for_each():
    assert [spec.dtype for spec in with_dtypes([[1, 2], [3]], ["int32", "int64"])] == [paddle.int32, paddle.int64]
    assert [spec.dtype for spec in with_dtypes([1, 2], "int64")] == [paddle.int64]
    assert with_dtypes({"x": [1, 2]}, "int64") == {"x": [1, 2]}


class Branches(nn.Layer):
    """Takes a dict in which a text lies, and gives a dict with a text."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2D(3, 2, 3), nn.Conv2D(3, 2, 3)
        self.norm = nn.BatchNorm2D(2)
        self.c, self.d = nn.Conv2D(2, 4, 1), nn.Conv2D(2, 4, 1)

    def forward(self, given):
        assert given["note"] == "text"
        x, y = self.norm(self.a(given["inner"]["x"])), self.b(given["inner"]["y"][0])
        return {"x": self.c(x), "y": [self.d(y)], "note": given["note"]}


def branches():
    return {"inner": {"x": paddle.rand([1, 3, 20, 20]), "y": (paddle.rand([1, 3, 12, 12]),)}, "note": "text"}


# By hand: two convolutions of 27 products per output of 2 channels, two of 2 per output of 4.
_CONVOLUTIONS = 2 * 27 * (18 * 18 + 10 * 10) + 4 * 2 * (18 * 18 + 10 * 10)


@pytest.mark.parametrize("wrap", [lambda given: given, lambda given: [given]], ids=["dict", "list"])
def test_flops_of_a_network_that_takes_a_dictionary(wrap):
    assert dygraph_flops(Branches(), wrap(branches()), only_conv=True) == _CONVOLUTIONS
    total, detail = dygraph_flops(Branches(), wrap(branches()), detail=True)
    assert total == _CONVOLUTIONS + 2 * 2 * 18 * 18
    assert sum(detail.values()) == _CONVOLUTIONS


@pytest.mark.parametrize("kind", [FPGMFilterPruner, L1NormFilterPruner, L2NormFilterPruner])
def test_a_network_that_takes_a_dictionary_is_pruned(kind):
    net, given = Branches(), branches()
    net.eval()
    pruner = kind(net, [given])
    pruner.prune_vars({net.a.weight.name: 0.5, net.b.weight.name: 0.5}, 0, apply="lazy")
    masked = net(given)
    pruner.restore()
    plan = pruner.prune_vars({net.a.weight.name: 0.5, net.b.weight.name: 0.5}, 0, verify=True)
    cut = net(given)
    assert (net.a.weight.shape[0], net.norm.weight.shape[0], net.c.weight.shape[1]) == (1, 1, 1)
    assert plan.pruned_flops == pytest.approx((_CONVOLUTIONS / 2 + 2 * 18 * 18) / (_CONVOLUTIONS + 4 * 18 * 18))
    np.testing.assert_allclose(cut["x"].numpy(), masked["x"].numpy(), atol=1e-6)
    np.testing.assert_allclose(cut["y"][0].numpy(), masked["y"][0].numpy(), atol=1e-6)


def test_a_network_that_takes_a_dictionary_is_quantized_in_training():
    net, given = Branches(), branches()
    net.eval()
    expected = net(given)["x"].numpy()
    model = QAT({"fuse_conv_bn": True}).quantize(net, inputs=[given])
    assert isinstance(model.norm, nn.Identity)
    quant.calibrate(model, [given])
    found = model(given)
    assert found["note"] == "text"
    assert 0 < np.abs(found["x"].numpy() - expected).max() < 0.05 * np.abs(expected).max()


def test_a_network_that_takes_a_dictionary_is_quantized_after_training(tmp_path):
    paddle.seed(0)
    net, given = Branches(), branches()
    net.eval()
    expected = net(given)["y"][0].numpy()
    ptq = PTQ()
    model = ptq.quantize(net, fuse=True, inputs=[given])
    model(given)
    found = ptq.convert(model)(given)["y"][0].numpy()
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_calls_of_a_network_that_takes_a_dictionary_know_their_tensors():
    graph = capture(Branches(), [branches()])
    assert [graph.shapes[value] for value in graph.outputs] == [(1, 4, 18, 18), (1, 4, 10, 10)]


@pytest.mark.parametrize(
    "use",
    [
        lambda: FPGMFilterPruner("net", [1, 3, 8, 8]),
        lambda: dygraph_flops(None, [1, 3, 8, 8]),
        lambda: QAT().quantize(nn.Linear),
        lambda: PTQ().quantize([nn.Linear(3, 4)]),
    ],
)
def test_what_is_no_network_is_refused(use):
    with pytest.raises(UserError, match=r"model: a paddle.nn.Layer is needed, found (str|NoneType|type|list)$"):
        use()

"""Weights that no layer holds: named, with the operator that reads them, where they stay float."""

import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

import ppcls_compress as pc

SHAPE = [2, 3, 8, 8]


class Own(nn.Layer):
    """A stem and a head, and between them what `step` does with a parameter of the network's own."""

    def __init__(self, shape, step):
        super().__init__()
        self.stem = nn.Conv2D(3, 4, 3, padding=1)
        self.own = self.create_parameter(shape)
        self.head = nn.Linear(4, 2)
        self.step = step

    def forward(self, x):
        return self.head(self.step(self, self.stem(x)).mean([2, 3]))


def by_matrix(self, x):
    return (x.flatten(2).transpose([0, 2, 1]) @ self.own.t()).transpose([0, 2, 1]).reshape(x.shape)


def standardized(self, x):
    return F.conv2d(x, (self.own - self.own.mean([1, 2, 3], keepdim=True)) * 0.5)


def one_of_several(self, x):
    return F.conv2d(x, paddle.concat([self.own[0], paddle.zeros([1, 4, 1, 1])])[:4])


def by_einsum(self, x):
    return paddle.einsum("oc,nchw->nohw", self.own, x)


def left_float(net):
    _, record = pc.compress(net, {"quant": {"name": "pact"}}, example=SHAPE, batches=[paddle.rand(SHAPE)])
    return {skip["layer"]: (skip["type"], skip["reason"]) for skip in record["steps"][-1]["skipped"]}


@pytest.mark.parametrize(
    ("shape", "step", "operator"),
    [
        ([4, 4, 1, 1], lambda self, x: F.conv2d(x, self.own), "conv2d"),
        ([4, 4, 1, 1], lambda self, x: F.conv2d_transpose(x, self.own), "conv2d_transpose"),
        ([4, 4], by_matrix, "matmul"),
        ([4, 4, 1, 1], standardized, "conv2d"),
        ([2, 4, 4, 1, 1], one_of_several, "conv2d"),
        ([4, 4], by_einsum, "einsum"),
        ([16], lambda self, x: F.conv2d(x, self.own.reshape([4, 4, 1, 1])), None),
    ],
    ids=["convolution", "transposed", "matrix, transposed before", "standardized", "part of it", "einsum", "one axis"],
)
def test_a_parameter_that_an_operator_multiplies_with_is_listed(shape, step, operator):
    found = left_float(Own(shape, step))
    if operator is None:
        assert found == {}
    else:
        assert found.keys() == {"own"}
        assert found["own"][0] == operator
        assert "needs a layer" in found["own"][1]


def test_one_that_is_added_is_not_nor_one_that_is_not_read():
    assert left_float(Own([4, 8, 8], lambda self, x: x + self.own)) == {}
    assert left_float(Own([4, 4, 1, 1], lambda _, x: x)) == {}


def test_a_layer_that_is_listed_itself_is_listed_once():
    class Scaled(nn.Linear):
        def forward(self, x):
            return 2 * F.linear(x, self.weight, self.bias)

    net = nn.Sequential(nn.Conv2D(3, 4, 3), nn.AdaptiveAvgPool2D(1), nn.Flatten(), Scaled(4, 2))
    assert left_float(net).keys() == {"3"}

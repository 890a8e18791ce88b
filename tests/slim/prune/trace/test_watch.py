"""Following numbers leaves the network, and Paddle, as they were."""

import paddle
import pytest
from paddle import nn
from paddle.pir import Value

from ppcls_compress.errors import UserError
from ppcls_compress.slim.graph import capture_or_refuse
from ppcls_compress.slim.prune.trace.formula import Dim, Held, Operation
from ppcls_compress.slim.prune.trace.sources import Sources
from ppcls_compress.slim.prune.trace.watch import watched

SHAPE = [[1, 3, 4, 4]]


class Busy(nn.Layer):
    """Keeps and changes numbers while it runs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 8, 1)
        self.sizes, self.pair, self.nested, self.width, self.calls = [3, 5], (2, 4), [[1, 2], (3,)], 8, 0
        self.kept = None

    def forward(self, x):
        x = self.conv(x)
        self.calls = self.calls + self.pair[0]
        self.kept = [x.shape[1], tuple(x.shape)]
        first, _ = paddle.split(x, self.sizes, axis=1)
        x = x.reshape([x.shape[0], self.pair[0], x.shape[1] // self.pair[0], 4, 4])
        return x[:, :, : self.width // self.pair[1]].sum() + first.sum()


def everything(net):
    own = {name: repr(value) for name, value in vars(net).items() if not name.startswith("_")}
    return Value.shape, paddle._C_ops.reshape, Value.__getitem__, own


def plain(value):
    return all(map(plain, value)) if isinstance(value, list | tuple) else type(value) is int


def test_attributes_and_shapes_are_plain_afterwards():
    net = Busy()
    before = everything(net)
    sizes, pair = net.sizes, net.pair
    with watched(net) as watch:
        capture_or_refuse(net, SHAPE)
    net.calls, calls, net.kept, kept = 0, net.calls, None, net.kept
    assert everything(net) == before
    assert net.sizes is sizes
    assert net.pair is pair
    assert (calls, kept) == (2, [8, (1, 8, 4, 4)])
    assert plain([calls, kept, net.sizes, net.pair, net.nested, net.width])
    assert watch.calls
    assert type(net.conv.weight.shape[0]) is int


def test_a_forward_pass_that_fails_leaves_nothing_behind():
    net = Busy()
    net.forward = lambda x: x.reshape([1, net.width])
    before = everything(net)
    with watched(net), pytest.raises(UserError, match="forward pass fails"):
        capture_or_refuse(net, SHAPE)
    assert everything(net) == before


def test_numbers_of_the_program_have_their_formulas():
    net = Busy()
    with watched(net) as watch:
        graph = capture_or_refuse(net, SHAPE)
    sources = Sources(graph, watch)
    split = next(op for op in graph.ops if op.name == "split")
    assert [sources.at(split, 1, index) for index in (0, 1)] == [
        Held("", "sizes", (0,), 3), Held("", "sizes", (1,), 5),
    ]  # fmt: skip
    assert sources.at(split, 2, None) is None
    cut = next(op for op in graph.ops if op.name == "slice")
    assert sources.at(cut, 2, 0) == Operation("//", Held("", "width", (), 8), Held("", "pair", (1,), 4))
    reshaped = next(op for op in graph.ops if op.name == "reshape" and op.owner == "")
    channels = Dim(reshaped.inputs[0], 1, 8)
    assert sources.at(reshaped, 1, 2) == Operation("//", channels, Held("", "pair", (0,), 2))
    assert channels in watch.log.read


def test_single_positions_and_parameters_shapes_are_followed():
    net = nn.Conv2D(3, 8, 1)
    net.which = 2
    sizes = []

    def forward(x):
        sizes.append(net.weight.shape[0])
        return nn.functional.conv2d(x, net.weight)[:, net.which]

    net.forward = forward
    with watched(net):
        graph = capture_or_refuse(net, SHAPE)
    assert graph.shapes[graph.outputs[0]] == (1, 4, 4)
    assert (graph.parameters[sizes[0].formula.tensor], sizes[0].formula.axis) == ("weight", 0)

"""The forward pass as plain operators: owners, constants, live parameters, and nothing left behind on the network."""

import sys

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

from ppcls_compress.errors import UserError, first_line
from ppcls_compress.slim import FPGMFilterPruner
from ppcls_compress.slim.graph import (
    CaptureError,
    capture,
    capture_or_refuse,
    inference_mode,
)


class Block(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2D(8)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 16, 5))

    def forward(self, x):
        parts = paddle.split(F.relu(self.norm(self.conv(x))), [2, 6], axis=1)
        return self.head(paddle.concat(parts[::-1], axis=1)), parts[0]


def named(graph, name):
    return next(op for op in graph.ops if op.name == name)


def test_operators_know_their_layer_their_shapes_and_their_parameters():
    net = Block()
    graph = capture(net, [[1, 3, 4, 4]])
    conv, norm, flat, product = (named(graph, name) for name in ("conv2d", "batch_norm", "flatten", "matmul"))
    assert [op.owner for op in (conv, norm, flat, product, named(graph, "relu"))] == [
        "conv",
        "norm",
        "head.0",
        "head.1",
        "",
    ]
    assert graph.parameters[conv.inputs[1]] == "conv.weight"
    assert graph.tensors["conv.weight"] is net.conv.weight
    assert list(graph.tensors) == [name for name, _ in [*net.named_parameters(), *net.named_buffers()]]
    assert graph.shapes[conv.outputs[0]] == (1, 8, 4, 4)
    assert graph.makers[conv.outputs[0]] is conv
    assert [graph.shapes[value] for value in graph.outputs] == [(1, 5), (1, 2, 4, 4)]


def test_lists_of_tensors_are_opened_and_constants_are_read():
    graph = capture(Block(), [[1, 3, 4, 4]])
    cut, joined = named(graph, "split"), named(graph, "concat")
    assert [graph.shapes[value][1] for value in cut.outputs] == [2, 6]
    assert joined.inputs[0] == (cut.outputs[1], cut.outputs[0])
    assert graph.ints(cut.inputs[1]) == [2, 6]
    assert graph.ints(cut.inputs[2]) == [1]
    assert graph.ints(cut.inputs[0]) is None


class Held(nn.Layer):
    """Reads a tensor that is no parameter of any layer, so that Paddle meets it in the middle of the forward pass."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2D(width, 8, 1, bias_attr=False) for width in (3, 8))
        self.held = [paddle.ones([8, 1, 1])]

    def forward(self, x):
        return self.second(paddle.multiply(F.relu(self.first(x)), self.held[0]))


def test_a_tensor_that_is_met_on_the_way_does_not_shift_the_layers():
    graph = capture(Held(), [[1, 3, 4, 4]])
    owners = [(op.name, op.owner) for op in graph.ops if op.name != "data"]
    assert owners == [("conv2d", "first"), ("relu", ""), ("multiply", ""), ("conv2d", "second")]
    places = {call.layer: (call.start, call.stop) for call in graph.calls}
    assert places == {op.owner: (op.index, op.index + 1) for op in graph.ops if op.name == "conv2d"}


def test_the_network_is_left_as_it_was():
    net = Block()
    net.norm.eval()
    before = {name: value.numpy() for name, value in net.state_dict().items()}
    limit = getattr(sys, "tracebacklimit", None)
    capture(net, [[1, 3, 4, 4]])
    assert (net.training, net.conv.training, net.norm.training) == (True, True, False)
    assert not net.conv._forward_pre_hooks
    assert not net.conv._forward_post_hooks
    assert getattr(sys, "tracebacklimit", None) == limit
    assert paddle.in_dynamic_mode()
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


class Refuses(nn.Layer):
    def forward(self, x):
        raise ValueError("refused")


def test_a_capture_that_fails_hands_over_what_it_got_and_does_not_disturb_the_next():
    net = nn.Sequential(nn.Conv2D(3, 8, 1), nn.ReLU(), nn.Conv2D(9, 4, 1))
    for _ in range(3):
        with pytest.raises(CaptureError) as caught:
            capture(nn.Sequential(net[0], nn.Flatten(), Refuses()), [[1, 3, 4, 4]])
        assert [op.name for op in caught.value.graph.ops if op.owner == "0"][:1] == ["conv2d"]
        assert {op.owner for op in caught.value.graph.ops if op.name == "flatten"} == {"1"}
        good = capture(nn.Sequential(net[0], net[1]), [[1, 3, 4, 4]])
        assert set(good.parameters.values()) == {"0.weight", "0.bias"}


def test_synchronized_batch_norms_are_local_in_inference_and_themselves_again_after():
    net = nn.Sequential(nn.Conv2D(3, 4, 1), nn.SyncBatchNorm(4))
    local = nn.Sequential(net[0], nn.BatchNorm2D(4))
    local.eval()
    x = paddle.randn([2, 3, 4, 4])
    with inference_mode(net):
        assert not net[1].training
        np.testing.assert_allclose(net(x).numpy(), local(x).numpy(), rtol=1e-6)
    assert net[1].training
    assert "forward" not in vars(net[1])


def test_one_line_of_a_long_error():
    text = "Traceback\n  File x\n\nInvalidArgumentError: shapes differ\n  [Hint: a]\n"
    assert first_line(ValueError(text)) == "ValueError: InvalidArgumentError: shapes differ"
    assert first_line(KeyError()) == "KeyError: "
    assert first_line(ValueError("ValueError: once")) == "ValueError: once"


@pytest.mark.parametrize(
    ("window", "told"),
    [
        (nn.Conv2D(4, 4, 7), r"conv2d gives \[1, 4, 0, 0\]"),
        (nn.AvgPool2D(7, stride=1), r"pool2d gives \[1, 4, 0, 0\]"),
        (nn.MaxPool2D(7, stride=1, return_mask=True), r"max_pool2d_with_index gives \[1, 4, 0, 0\]"),
        (nn.Unfold(7), r"unfold gives \[1, 196, 0\]"),
    ],
)
def test_images_smaller_than_a_window_are_refused(window, told):
    own = "the output size must be greater than 0. But received: output_size = 0"  # Paddle 3.0, of pooling
    with pytest.raises(UserError, match=f"1: {told}, an empty tensor; larger images are needed|{own}"):
        capture_or_refuse(nn.Sequential(nn.Conv2D(3, 4, 3), window), [[1, 3, 8, 8]])


class Branch(nn.Layer):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2D(3, 8, 1), nn.Conv2D(8, 4, 1)

    def forward(self, x):
        return self.b(self.a(x))


class Decorated(Branch):
    @paddle.jit.to_static
    def forward(self, x):
        return self.b(self.a(x))


def wrapped_inside():
    return nn.Sequential(paddle.jit.to_static(Branch()), nn.ReLU())


@pytest.mark.parametrize(
    "build",
    [
        lambda: paddle.jit.to_static(Branch()),
        lambda: paddle.jit.to_static(Branch(), full_graph=True),
        Decorated,
        wrapped_inside,
    ],
    ids=["layer", "full graph", "decorated", "sublayer"],
)
def test_layers_made_static_are_captured_and_stay_static(build):
    net, x = build(), paddle.rand([1, 3, 4, 4])
    before = net(x)
    forward = net.forward
    assert [op.name for op in capture(net, [1, 3, 4, 4]).ops].count("conv2d") == 2
    assert net.forward == forward
    names = [name for name in net.state_dict() if name.endswith("a.weight")]
    pruner = FPGMFilterPruner(net, [1, 3, 4, 4])
    pruner.prune_vars({names[0]: 0.5}, 0, verify=True)
    assert net.state_dict()[names[0]].shape == [4, 3, 1, 1]
    assert net(x).shape == before.shape
    pruner.restore()
    np.testing.assert_allclose(net(x).numpy(), before.numpy(), rtol=1e-5)

"""On whole networks: building leanly records what Paddle's own pace does, and the work grows as the network does."""

import sys
from contextlib import contextmanager

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.base.libpaddle import pir
from support.backbones import SMALLEST, side

from ppcls_compress import models
from ppcls_compress.slim import FPGMFilterPruner, graph
from ppcls_compress.slim.prune.trace import channels, labels
from ppcls_compress.slim.prune.trace.channels import solve
from ppcls_compress.slim.prune.trace.rules import reshaping
from ppcls_compress.slim.prune.trace.trace import trace
from ppcls_compress.slim.tracing import clean_builder

pytestmark = pytest.mark.usefixtures("small_classifiers")
FAST = ["mobilenet_v3_small", "shufflenet_v2_x0_25", "LeNet", "CIFARResNet8", "PPLCNet_x0_25"]
SLOW = ["densenet121", "googlenet", "inception_v3", "mobilenet_v1", "mobilenet_v2", "resnext50_32x4d", "squeezenet1_1",
        *(name for name in SMALLEST if name not in FAST)]  # fmt: skip


def shape_of(name):
    size = side(name, {"LeNet": 28, "inception_v3": 299, "SwinTransformer_tiny_patch4_window7_224": 224}.get(name, 64))
    return [1, 1 if name == "LeNet" else 3, size, size]


def numbered(found):
    """All that a graph says, with values named by their order instead of by their address."""
    order = {}

    def name(value):
        if isinstance(value, tuple):
            return [name(item) for item in value]
        return value if value is None else order.setdefault(value, len(order))

    ops = [
        (op.index, op.name, name(op.inputs), name(op.outputs), op.owner, {k: str(v) for k, v in op.attrs.items()})
        for op in found.ops
    ]
    calls = [(call.layer, call.start, call.stop, name(call.inputs), name(call.outputs)) for call in found.calls]
    shapes = {name(value): shape for value, shape in found.shapes.items() if value in order}
    parameters = {name(value): parameter for value, parameter in found.parameters.items() if value in order}
    return ops, calls, shapes, parameters, list(found.tensors), name(tuple(found.outputs))


def traced(net, shape):
    """The graph, labels of all parameter axes, classes and groups."""
    tracing = trace(net, shape)
    solved = solve(tracing, kinds=frozenset({"conv", "fc"}))
    groups = [(group.roots.tobytes(), [m.origin.weight for m in group.members]) for group in solved.groups]
    labels = {place: row.tobytes() for place, row in tracing.bindings.items()}
    return numbered(tracing.graph), labels, solved.root.tobytes(), groups


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_network_built_leanly_is_the_one_that_paddle_builds(name, monkeypatch):
    net = models.build(name)
    lean = traced(net, shape_of(name))
    monkeypatch.setattr(graph, "lean_builder", clean_builder)
    assert lean == traced(net, shape_of(name))


class Block(nn.Layer):
    """A residual block: what is traced, united, split by groups and pinned grows with their number."""

    def __init__(self):
        super().__init__()
        self.wide, self.norm = nn.Conv2D(8, 16, 1), nn.BatchNorm2D(16)
        self.grouped, self.narrow = nn.Conv2D(16, 16, 3, padding=1, groups=4), nn.Conv2D(16, 8, 1)

    def forward(self, x):
        inner = nn.functional.relu(self.norm(self.wide(x)))
        n, c, h, w = inner.shape
        inner = inner.reshape([n, 4, c // 4, h, w]).transpose([0, 2, 1, 3, 4]).reshape([n, c, h, w])
        return x + self.narrow(paddle.concat(paddle.split(self.grouped(inner), 2, axis=1)[::-1], axis=1))


def deep(blocks):
    return nn.Sequential(nn.Conv2D(3, 8, 1), *[Block() for _ in range(blocks)], nn.Flatten(), nn.Linear(8 * 16, 4))


SHAPE = [1, 3, 4, 4]


def calls_of(work):
    """How many functions a piece of work calls, Python's and built-in ones, and what it returns."""
    count = 0

    def note(_frame, event, _argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        found = work()
    finally:
        sys.setprofile(None)
    return count, found


def check_linear(counts):
    """Of 8, 16 and 32 blocks: twice as many more blocks take twice as many more steps, give or take a tenth."""
    first, second = counts[1] - counts[0], counts[2] - counts[1]
    assert first > 0
    assert second <= 2.2 * first, counts


def pruned(net):
    """The way a user goes: a pruner, and a plan that cuts every convolution."""
    names = [layer.weight.name for layer in net.sublayers() if isinstance(layer, nn.Conv2D)]
    return FPGMFilterPruner(net, SHAPE).prune_vars(dict.fromkeys(names, 0.3), 0)


def test_functions_called_while_tracing_solving_and_pruning_grow_as_the_network_does():
    pruned(deep(1))  # what is imported and cached at first use
    captured, tracings, solving, pruning = [], [], [], []
    for blocks in (8, 16, 32):
        net = deep(blocks)
        captured.append(calls_of(lambda net=net: graph.capture(net, SHAPE))[0])
        count, tracing = calls_of(lambda net=net: trace(net, SHAPE))
        tracings.append(count)
        solving.append(calls_of(lambda tracing=tracing: solve(tracing))[0])
        pruning.append(calls_of(lambda net=net: pruned(net))[0])
    for counts in (captured, tracings, solving, pruning):
        check_linear(counts)


@contextmanager
def counted_walks(monkeypatch):
    """What Paddle goes through inside of single calls: operators listed or counted, parameters copied."""
    seen = {"operators": 0, "parameters": 0}
    listed, counted, copied = pir.Block.ops, pir.Program.num_ops, pir.Program.set_parameters_from

    def ops(block):
        found = listed.__get__(block)
        seen["operators"] += len(found)
        return found

    def num_ops(program):
        seen["operators"] += counted(program)
        return counted(program)

    def set_parameters_from(program, other):
        seen["parameters"] += other.parameters_num()
        return copied(program, other)

    with monkeypatch.context() as patch:
        patch.setattr(pir.Block, "ops", property(ops))
        patch.setattr(pir.Program, "num_ops", num_ops)
        patch.setattr(pir.Program, "set_parameters_from", set_parameters_from)
        yield seen


@pytest.mark.parametrize("walk", ["operators", "parameters"])
def test_what_paddle_walks_through_grows_as_the_network_does(walk, monkeypatch):
    counts = []
    for blocks in (8, 16, 32):
        with counted_walks(monkeypatch) as seen:
            graph.capture(deep(blocks), SHAPE)
        counts.append(seen[walk])
    check_linear(counts)


class Counting:
    """A module or function of NumPy's that adds up the sizes of the arrays that come out of it."""

    def __init__(self, target, sizes):
        self.target, self.sizes = target, sizes

    def __getattr__(self, name):
        found = getattr(self.target, name)
        return Counting(found, self.sizes) if callable(found) and not isinstance(found, type) else found

    def __call__(self, *arguments, **options):
        result = self.target(*arguments, **options)
        parts = result if isinstance(result, tuple) else (result,)
        self.sizes.extend(part.size for part in parts if isinstance(part, np.ndarray))
        return result


def test_arrays_made_while_labelling_and_solving_grow_as_the_network_does(monkeypatch):
    labelling, solving = [], []
    for blocks in (8, 16, 32):
        net, sizes = deep(blocks), []
        with monkeypatch.context() as patch:
            for module in (channels, labels, reshaping):
                patch.setattr(module, "np", Counting(np, sizes))
            tracing = trace(net, SHAPE)
            labelling.append(sum(sizes))
            assert len(solve(tracing).groups) > blocks
        solving.append(sum(sizes) - labelling[-1])
    check_linear(labelling)
    check_linear(solving)

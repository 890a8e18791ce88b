"""A plan, its masks, the cut and the configuration's way are the same pruning, whatever the sizes are written with."""

import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle import nn
from paddle.nn import functional as F
from paddle.vision import models as vision
from support.backbones import HEAVY, SMALLEST, side
from support.generated import CUTS, HEADS, KINDS, STYLES, Cut, Dual, Generated, conv
from support.plans import check_all_ways

from ppcls_compress import models

SHAPE = [1, 3, 6, 6]
UNEVEN = (0.3, 0.45, 0.1, 0.6, 0.2, 0.0, 0.7)
FAST_VISION = ("shufflenet_v2_x0_25", "mobilenet_v3_small")
SLOW_VISION = ("densenet121", "googlenet", "inception_v3", "mobilenet_v1", "mobilenet_v2", "resnet18",
               "resnext50_32x4d", "squeezenet1_1")  # fmt: skip


def uneven(names):
    return {name: UNEVEN[index % len(UNEVEN)] for index, name in enumerate(names)}


def of_seed(seed):
    return lambda names: {name: UNEVEN[(seed + 3 * index * index) % len(UNEVEN)] for index, name in enumerate(names)}


numbers = st.integers(0, 7)
drawn = {
    "width": st.sampled_from((8, 12)),
    "blocks": st.lists(st.tuples(st.sampled_from(KINDS), numbers, numbers, numbers), min_size=1, max_size=3),
    "head": st.sampled_from(HEADS),
    "seed": numbers,
    "order": st.permutations(["plan", "lazy", "cut", "cut"]),
}


def check_drawn(width, blocks, head, seed, order):
    check_all_ways(lambda: Generated(width, blocks, head), SHAPE, of_seed(seed), order)


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(**drawn)
def test_all_ways_agree_on_networks_drawn_at_random(width, blocks, head, seed, order):
    check_drawn(width, blocks, head, seed, order)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(**drawn)
def test_all_ways_agree_on_more_networks_drawn_at_random(width, blocks, head, seed, order):
    check_drawn(width, blocks, head, seed, order)


class Around(nn.Layer):
    """A stem, one block, a classifier."""

    def __init__(self, block, width):
        super().__init__()
        self.stem, self.block, self.fc = conv(3, width), block, nn.Linear(width, 5)

    def forward(self, x):
        return self.fc(self.block(self.stem(x)).mean([2, 3]))


class EqualSplit(Cut):
    def __init__(self, width):
        super().__init__(width, "shape", 0, "split", "cross")

    def forward(self, x):
        left, right = paddle.split(self.before(x), 2, axis=1)
        return self.after(paddle.concat([left, self.left(right + self.right(right))], 1))


class SeparableAttention(nn.Layer):
    """One convolution gives a query of one channel, keys and values of d each, split by numbers."""

    def __init__(self, d):
        super().__init__()
        self.d, self.qkv, self.out = d, nn.Conv2D(d, 1 + 2 * d, 1), nn.Conv2D(d, d, 1)

    def forward(self, x):
        q, k, v = paddle.split(self.qkv(x), [1, self.d, self.d], axis=1)
        context = (k * F.softmax(q.flatten(2), -1).reshape(q.shape)).sum([2, 3], keepdim=True)
        return x + self.out(F.relu(v) * context)


BLOCKS = {
    "halves": lambda: Around(Cut(16, "shape", 0, "slices", "cross"), 16),
    "equal split": lambda: Around(EqualSplit(16), 16),
    "dual path": lambda: Around(Dual(12, 16, 4, written=False), 12),
    "attention": lambda: Around(SeparableAttention(16), 16),
}


@pytest.mark.parametrize("ratios", [uneven, lambda names: dict.fromkeys(names, 0.45)], ids=["uneven", "even"])
@pytest.mark.parametrize("name", BLOCKS)
def test_all_ways_agree_where_parts_are_cut_out_by_numbers(name, ratios):
    masks = check_all_ways(BLOCKS[name], [1, 3, 8, 8], ratios)
    assert masks


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("cut", CUTS)
def test_a_part_follows_wherever_its_size_comes_from(style, cut):
    masks = check_all_ways(lambda: Around(Cut(8, style, 3, cut, "concat"), 8), SHAPE, uneven, ["lazy", "cut"])
    rounded = style in ("float", "quotient") and cut in ("sections", "end")  # a size less a rounded one: no trace of it
    assert (("conv2d_0.w_0", 0) in masks) != rounded  # the one that is cut in two


CONVOLUTIONAL = [name for name in SMALLEST if not name.startswith("SwinTransformer")]
"""A transformer's one convolution is tied to layer norms; `prune_type: all` prunes its linear layers."""


@pytest.mark.usefixtures("small_classifiers")
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in HEAVY else n for n in CONVOLUTIONAL])
def test_all_ways_agree_on_native_backbones(name):
    size = side(name, 32 if name.startswith("CIFAR") else 64)
    assert check_all_ways(lambda: models.build(name), [1, 3, size, size], uneven, ["lazy", "cut"])


@pytest.mark.parametrize("name", [*FAST_VISION, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW_VISION)])
def test_all_ways_agree_on_paddles_networks(name):
    size = {"inception_v3": 107, "googlenet": 224}.get(name, 64)
    assert check_all_ways(lambda: getattr(vision, name)(), [1, 3, size, size], uneven, ["lazy", "cut"])

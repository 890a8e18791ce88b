"""Branches that only training runs."""

import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from support.pruning import Net, channels, check_exact, random_inputs

from ppcls_compress.slim import FPGMFilterPruner
from ppcls_compress.slim.options.prune import PruneOptions
from ppcls_compress.slim.prune import apply_record, prune
from ppcls_compress.slim.prune.trace.modes import branches_on_training

SHAPE = [[2, 3, 8, 8]]


class Auxiliary(nn.Layer):
    """A second head that learns along, and a number that only training looks at."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.last = nn.Conv2D(3, 16, 3), nn.BatchNorm2D(16), nn.Conv2D(16, 8, 1)
        self.fc, self.width = nn.Linear(8, 4), 16
        self.extra, self.extra_fc = nn.Conv2D(16, 6, 1), nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        out = self.fc(self.last(x).mean([2, 3]))
        if not self.training:
            return out
        return out, self.extra_fc(self.extra(x.reshape([x.shape[0], self.width, 6, 6])).mean([2, 3]))


def train_a_step(net):
    net.train()
    sum(value.mean() for value in net(*random_inputs(SHAPE))).backward()
    assert all(parameter.grad is not None for parameter in net.parameters() if not parameter.stop_gradient)


def test_a_head_that_only_training_runs_is_pruned_along():
    net, record = check_exact(Auxiliary, SHAPE, PruneOptions(pruned_ratio=0.5))
    assert (channels(net, "stem"), net.extra.weight.shape[:2], net.width) == (8, [3, 8], 8)
    assert record["pinned"] == []
    train_a_step(net)
    train_a_step(apply_record(Auxiliary(), record))
    whole = 16 * 6 + 6 + 6 * 4 + 4  # counted among the parameters, not among the multiply-adds
    assert record["before"]["params"] == sum(p.size for p in Auxiliary().parameters() if p.trainable)
    assert record["before"]["flops"] < 2 * 36 * (27 + 8) * 16 + 2 * whole


def test_the_filter_pruners_know_it_too():
    net = Auxiliary()
    pruner = FPGMFilterPruner(net, SHAPE[0])
    pruner.prune_vars({"stem.weight": 0.5, "extra.weight": 0.5}, 0)
    train_a_step(net)
    assert net.extra.weight.shape == [3, 8, 1, 1]
    pruner.restore()
    train_a_step(net)


def test_layers_that_no_forward_pass_reaches_are_named():
    net = Net(lambda n, x: x, a=nn.Conv2D(16, 4, 1))
    _, record = prune(net, PruneOptions(), [[1, 3, 8, 8]])
    assert record["pinned"] == [{"layer": "a", "op": "", "reason": "the forward pass does not reach it"}]
    assert net.a.weight.shape == [4, 16, 1, 1]


def test_training_that_cannot_be_traced_is_told():
    class Asking(Auxiliary):
        def forward(self, x):
            if self.training and x.mean() > 0:
                return x
            return super().forward(x)

    with pytest.warns(UserWarning, match=r"training mode.*cannot be traced.*values of a tensor.*test_modes.py:"):
        prune(Asking(), PruneOptions(), SHAPE)


@pytest.mark.parametrize(
    ("forward", "asks"),
    [
        (lambda self, x: F.dropout(x, 0.5, training=self.training), False),
        (lambda self, x: F.dropout(x, 0.5, training=not self.training), False),
        (lambda self, x: x if self.training else x + 1, True),
        (lambda self, x: x if not self.training else x + 1, True),
        (lambda self, x: [x, x + 1][self.training is True], True),
        (lambda self, x: (lambda y: y if self.training else x)(x), True),
        (lambda self, x: x, False),
    ],
)
def test_handing_the_mode_on_is_no_branch(forward, asks):
    kind = type("Kind", (nn.Layer,), {"forward": forward})
    assert branches_on_training([kind(), nn.Dropout(0.5), nn.BatchNorm2D(4)]) is asks


def test_a_branch_through_a_variable_is_seen():
    class Kind(nn.Layer):
        def forward(self, x):
            learning = self.training
            return x if learning else paddle.zeros_like(x)

    assert branches_on_training([Kind()])

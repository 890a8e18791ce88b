import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

import ppcls_compress as pc
from ppcls_compress.errors import UserError
from ppcls_compress.slim import strays
from ppcls_compress.slim.strays import refuse_strays

SHAPE = [1, 3, 8, 8]


class Holding(nn.Layer):
    """A stem, and whatever `make` puts into the attribute `kept`, through which `step` takes its output."""

    def __init__(self, make, step):
        super().__init__()
        self.stem = nn.Conv2D(3, 8, 3, padding=1)
        self.kept = make(self)
        self.step = step
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.step(self, F.relu(self.stem(x)))
        return self.head(x.mean([2, 3]))


def conv(_=None):
    return nn.Conv2D(8, 8, 3, padding=1)


def through(self, x):
    for layer in self.kept:
        x = layer(x)
    return x


def made_when_first_called(self, x):
    if "first" not in self.kept:
        self.kept["first"] = conv()
    return self.kept["first"](x)


@pytest.mark.parametrize(
    ("make", "step", "named"),
    [
        (lambda _: [conv(), conv()], through, r"kept\[0\].weight and 3 more"),
        (
            lambda _: ({"a": [nn.Sequential(conv())]},),
            lambda self, x: self.kept[0]["a"][0](x),
            r"kept\[0\]\['a'\]\[0\].0.",
        ),
        (
            lambda self: [self.create_parameter([8, 8, 1, 1])],
            lambda self, x: F.conv2d(x, self.kept[0]),
            r"kept\[0\], which",
        ),
    ],
)
@pytest.mark.parametrize("slim", [{"prune": {"pruned_ratio": 0.5}}, {"quant": {"name": "pact"}}])
def test_weights_that_the_network_does_not_know_are_refused_by_name(make, step, named, slim):
    net = Holding(make, step)
    with pytest.raises(UserError, match=named) as caught:
        pc.compress(net, slim, example=SHAPE, batches=[paddle.rand([4, 3, 8, 8])])
    assert "LayerList" in str(caught.value)
    assert "\n" not in str(caught.value)


class Hidden(nn.Layer):
    """Its name for the list begins as those of Paddle's own do."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2D(3, 8, 3, padding=1)
        self._convs = [conv()]

    def forward(self, x):
        return self._convs[0](self.stem(x)).mean([2, 3])


def test_a_private_list_is_looked_into_too():
    with pytest.raises(UserError, match=r"the forward pass computes with _convs\[0\].weight and 1 more"):
        refuse_strays(Hidden(), SHAPE)


def test_paddleslims_pruners_refuse_them():
    with pytest.raises(UserError, match=r"_convs\[0\].weight"):
        pc.slim.FPGMFilterPruner(Hidden(), SHAPE)


def test_paddleslims_qat_refuses_them_where_it_knows_the_input_and_warns_otherwise(caplog):
    with pytest.raises(UserError, match=r"_convs\[0\].weight"):
        pc.slim.QAT().quantize(Hidden(), inputs=[SHAPE])
    with caplog.at_level("WARNING"):
        pc.slim.QAT().quantize(Hidden())
        pc.slim.PTQ().quantize(Hidden())
    assert [record.getMessage().partition(" in a plain list")[0] for record in caplog.records] == [
        "Hidden: it holds _convs[0].weight and 1 more"
    ] * 2
    with pytest.raises(UserError, match=r"_convs\[0\].weight"):
        pc.slim.PTQ().quantize(Hidden(), inputs=[SHAPE])


def test_recurrent_layers_which_hold_their_weights_in_a_list_too_are_not_suspected(caplog):
    pc.slim.QAT().quantize(nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4)))
    assert not caplog.records


def test_a_list_that_holds_itself_and_lists_within_lists_are_looked_into():
    net, inner = nn.Sequential(conv()), nn.Sequential(conv())
    inner.deeper = [conv()]
    net.kept = [inner]
    net.kept.append(net.kept)
    assert [name for name, _ in strays._held(net)] == [
        "kept[0].0.weight",
        "kept[0].0.bias",
        "kept[0].deeper[0].weight",
        "kept[0].deeper[0].bias",
    ]


def test_where_the_forward_pass_cannot_be_traced_it_is_a_warning(caplog):
    net = Holding(lambda _: [conv()], lambda self, x: x.numpy())
    refuse_strays(net, SHAPE)
    assert "it holds kept[0].weight and 1 more in a plain list or dict" in caplog.text


def test_a_network_that_needs_no_step_any_more_is_refused_too():
    class Growing(nn.Sequential):
        more = ()

        def forward(self, x):
            return nn.Sequential(*self.more)(super().forward(x))

    small, record = pc.compress(Growing(conv(), nn.Conv2D(8, 8, 1)), {"prune": {}}, example=[1, 8, 8, 8])
    small.more = [conv()]
    with pytest.raises(UserError, match=r"more\[0\].weight"):
        pc.compress(small, {"prune": {}}, example=[1, 8, 8, 8], record=record)


def test_layers_that_are_made_in_the_first_forward_pass_are_refused_too():
    net = Holding(lambda _: {}, made_when_first_called)
    with pytest.raises(UserError, match=r"kept\['first'\].weight and 1 more"):
        pc.compress(net, {"quant": {"name": "pact"}}, example=SHAPE, batches=[paddle.rand([4, 3, 8, 8])])


@pytest.mark.parametrize(
    ("make", "step"),
    [
        (lambda _: [conv()], lambda _, x: x),  # a teacher that is hidden on purpose
        (lambda self: [self.add_sublayer("also", conv())], through),
        (lambda _: nn.LayerList([conv()]), through),
        (lambda _: [2.0, paddle.ones([1])], lambda self, x: x * self.kept[0] * self.kept[1]),
    ],
)
def test_what_is_hidden_and_not_read_or_known_otherwise_is_no_fault(make, step):
    refuse_strays(Holding(make, step), SHAPE)

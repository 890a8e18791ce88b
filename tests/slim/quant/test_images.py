"""Networks that take other images than 3 x 224 x 224, or no images at all: nobody has to say so."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.errors import UserError
from ppcls_compress.slim import PTQ, QAT, quant
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.quant.images import image_shape


def folding(channels, size, **layout):
    """A network with a batch norm that does something, and a linear layer that takes one size of image only."""
    paddle.seed(0)
    net = nn.Sequential(
        nn.Conv2D(channels, 6, 3, padding=1, **layout),
        nn.BatchNorm2D(6, **layout),
        nn.ReLU(),
        nn.MaxPool2D(2, **layout),
        nn.Flatten(),
        nn.Linear(6 * (size // 2) ** 2, 10),
    )
    net[1]._mean.set_value(np.linspace(-0.5, 0.5, 6).astype("float32"))
    net[1]._variance.set_value(np.linspace(0.5, 2, 6).astype("float32"))
    net.eval()
    return net


class Grid(nn.Layer):
    """Takes a dict with an image of a size that nobody would try."""

    def __init__(self):
        super().__init__()
        self.net = folding(4, 18)

    def forward(self, batch, *, gain=1.0):
        return self.net(batch["image"]) * gain


def folded(net):
    """The weights that folding gives, from the formula."""
    conv, norm = net[0], net[1]
    factor = norm.weight.numpy() / np.sqrt(norm._variance.numpy() + norm._epsilon)
    bias = (conv.bias.numpy() - norm._mean.numpy()) * factor + norm.bias.numpy()
    return conv.weight.numpy() * factor.reshape([-1, 1, 1, 1]), bias


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (4, 224), (3, 16), (3, 299)])
def test_after_training(channels, size):
    net = folding(channels, size)
    weight, bias = folded(net)
    x = paddle.rand([2, channels, size, size])
    before = net(x).numpy()
    ptq = PTQ()
    model = ptq.quantize(net, fuse=True)
    np.testing.assert_allclose(model(x).numpy(), before, atol=1e-4)
    np.testing.assert_allclose(model[0].weight.numpy(), weight, atol=1e-5)
    np.testing.assert_allclose(model[0].bias.numpy(), bias, atol=1e-5)
    assert isinstance(net[1], nn.BatchNorm2D)
    after = ptq.convert(model)(x).numpy()
    assert 0 < np.abs(before - after).max() < 0.1 * np.abs(before).max()


def test_at_the_first_batch_where_no_image_is_taken():
    net = Grid()
    weight, bias = folded(net.net)
    batch = {"image": paddle.rand([2, 4, 18, 18]), "name": "text"}
    before = net(batch, gain=2.0).numpy()
    ptq = PTQ()
    model = ptq.quantize(net, fuse=True)
    assert isinstance(model.net[1], nn.BatchNorm2D)
    for _ in range(2):
        np.testing.assert_allclose(model(batch, gain=2.0).numpy(), before, atol=1e-4)
        np.testing.assert_allclose(model.net[0].weight.numpy(), weight, atol=1e-5)
        np.testing.assert_allclose(model.net[0].bias.numpy(), bias, atol=1e-5)
    assert isinstance(model.net[1], nn.Identity)
    after = ptq.convert(model)(batch, gain=2.0).numpy()
    assert 0 < np.abs(before - after).max() < 0.1 * np.abs(before).max()
    told = PTQ().quantize(net, fuse=True, inputs=[{"image": [2, 4, 18, 18], "name": "text"}])
    np.testing.assert_array_equal(told.net[0].weight.numpy(), model.net[0].weight.numpy())


def test_a_first_batch_that_does_not_fit_is_told():
    model = PTQ().quantize(Grid(), fuse=True)
    with pytest.raises(UserError, match=r"does not run on the first batch, \[\{'image': \[2, 4, 8, 8\]\}"):
        model({"image": paddle.rand([2, 4, 8, 8])})


def test_in_training_and_at_the_places_of_an_integer_graph():
    weight, _ = folded(folding(1, 28))
    model = QAT({"fuse_conv_bn": True}).quantize(folding(1, 28))
    np.testing.assert_allclose(model[0].weight.numpy(), weight, atol=1e-5)
    model, record = quant.prepare(folding(1, 28), QuantOptions(placement="deploy"))
    assert [(place["layer"], place["side"]) for place in record["places"]] == [("0", "input"), ("5", "input")]
    np.testing.assert_allclose(model[0].weight.numpy(), weight, atol=1e-5)


def test_channels_last():
    assert image_shape(folding(3, 28, data_format="NHWC")) == [[2, 28, 28, 3]]


def test_rows_of_numbers_where_there_is_no_convolution():
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    _, record = quant.prepare(net, QuantOptions(placement="deploy"))
    assert [(place["layer"], place["side"]) for place in record["places"]] == [("0", "input"), ("2", "input")]


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (
            lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 4)),
            r"Sequential does not run on inputs such as \[2, 4\]",
        ),
        (Grid, r"Grid does not run on inputs such as \[2, 4, 224, 224\]; give the shapes that it takes as `inputs` \("),
    ],
)
def test_what_cannot_be_found_is_asked_for(net, says):
    with pytest.raises(UserError, match=says):
        QAT({"fuse_conv_bn": True}).quantize(net())
    with pytest.raises(UserError, match=says):
        quant.prepare(net(), QuantOptions(placement="deploy"))

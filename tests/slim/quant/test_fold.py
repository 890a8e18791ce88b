"""Batch norms folded into convolutions: the same outputs, on real networks and awkward ones."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppcls_compress.errors import UserError
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.paddleslim.ptq import PTQ

nn = paddle.nn


def stir(model: nn.Layer) -> nn.Layer:
    """Give batch norms statistics and weights that are not the initial ones."""
    rng = np.random.default_rng(2)
    for layer in model.sublayers():
        if hasattr(layer, "_variance"):
            shape = layer._mean.shape
            layer._mean.set_value(rng.normal(size=shape).astype("float32"))
            layer._variance.set_value(rng.uniform(0.5, 2, size=shape).astype("float32"))
            layer.weight.set_value(rng.uniform(0.5, 1.5, size=shape).astype("float32"))
            layer.bias.set_value(rng.normal(size=shape).astype("float32"))
    model.eval()
    return model


class Awkward(nn.Layer):
    """Norms registered in another order, an output used twice, a norm before its convolution, legacy classes."""

    def __init__(self):
        super().__init__()
        self.norm_b = nn.BatchNorm2D(4)
        self.norm_a = nn.BatchNorm(4)
        self.conv_a = nn.Conv2D(3, 4, 3, bias_attr=False)
        self.conv_b = nn.Conv2D(4, 4, 3)
        self.shared = nn.Conv2D(4, 4, 1)
        self.norm_c = nn.BatchNorm2D(4)
        self.norm_d = nn.BatchNorm2D(4)
        self.up = nn.Conv2DTranspose(4, 5, 2, bias_attr=False)
        self.norm_e = nn.BatchNorm2D(5)

    def forward(self, x):
        x = self.norm_b(self.conv_b(self.norm_a(self.conv_a(x))))
        x = self.norm_c(self.shared(x)) + self.norm_d(self.shared(x))
        return self.norm_e(self.up(x))


def test_only_pairs_that_read_each_other_are_folded():
    model = stir(Awkward())
    images = paddle.randn([2, 3, 9, 9])
    expected = model(images).numpy()
    pairs = quant.fold_batch_norms(model, [[2, 3, 9, 9]])
    assert sorted(pairs) == [("conv_a", "norm_a"), ("conv_b", "norm_b"), ("up", "norm_e")]
    np.testing.assert_allclose(model(images).numpy(), expected, rtol=1e-4, atol=1e-4)
    assert isinstance(model.norm_a, nn.Identity)
    assert model.conv_a.bias.shape == [4]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_all_batch_norms_of_real_networks_fold(name):
    paddle.seed(0)
    model = stir(getattr(paddle.vision.models, name)(num_classes=10))
    images = paddle.randn([1, 3, 64, 64])
    expected = model(images).numpy()
    quant.fold_batch_norms(model, [[1, 3, 64, 64]])
    assert not [layer for layer in model.sublayers() if isinstance(layer, nn.BatchNorm2D)]
    difference = np.abs(model(images).numpy() - expected).max()
    assert difference < 1e-4 * np.abs(expected).max()


def test_an_output_that_is_used_in_another_way_is_noticed():
    class Both(nn.Layer):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2D(3, 4, 1)
            self.norm = nn.BatchNorm2D(4)

        def forward(self, x):
            x = self.conv(x)
            return self.norm(x) + x

    model = Both()
    model.conv.bias = None
    stir(model)
    before = {key: value.numpy() for key, value in model.state_dict().items()}
    with pytest.warns(
        UserWarning, match="norm is not folded into conv: the network uses what conv gives in another way"
    ):
        assert quant.fold_batch_norms(model, [[1, 3, 4, 4]]) == []
    assert list(model.state_dict()) == list(before)
    assert all(np.array_equal(value.numpy(), before[key]) for key, value in model.state_dict().items())
    with pytest.raises(UserError, match=r"does not run on inputs of \[\[1, 5, 4, 4\]\]; give the shapes"):
        quant.fold_batch_norms(model, [[1, 5, 4, 4]])


def test_prepare_folds_and_the_record_repeats_it():
    images = paddle.randn([2, 3, 9, 9])
    model, record = quant.prepare(stir(Awkward()), QuantOptions(fuse_conv_bn=True), inputs=[[2, 3, 9, 9]])
    assert ["conv_a", "norm_a"] in record["folded"]
    quant.calibrate(model, [images])
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    again = quant.apply_record(Awkward(), record)
    assert again.set_state_dict(state) == ([], [])
    again.eval()
    model.eval()
    np.testing.assert_array_equal(again(images).numpy(), model(images).numpy())


def test_folding_without_inputs_tries_an_image():
    model = nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4))
    _, record = quant.prepare(model, QuantOptions(fuse_conv_bn=True))
    assert record["folded"] == [["0", "1"]]


def test_a_network_without_convolutions_has_nothing_to_fold():
    assert quant.fold_batch_norms(nn.Sequential(nn.Linear(3, 3))) == []


def activated(kind):
    """A convolution followed by a batch norm that computes an activation by itself."""
    paddle.seed(0)
    return stir(nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm(4, act=kind), nn.Conv2D(4, 4, 3), nn.BatchNorm(4)))


@pytest.mark.parametrize("kind", ["relu", "relu6", "swish", "hard_swish", "sigmoid", "tanh"])
def test_the_activation_of_a_folded_norm_stays(kind):
    model, images = activated(kind), paddle.randn([2, 3, 9, 9])
    expected = model(images).numpy()
    assert len(quant.fold_batch_norms(model, [[2, 3, 9, 9]])) == 2
    assert type(model[3]) is nn.Identity
    np.testing.assert_allclose(model(images).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_an_activation_without_a_layer_of_its_own_keeps_its_norm():
    model = activated("elu")
    assert quant.fold_batch_norms(model, [[2, 3, 9, 9]]) == [("2", "3")]
    with pytest.raises(UserError, match="1: a batch norm with the activation elu cannot be folded"):
        PTQ().quantize(activated("elu"), fuse=True, fuse_list=[["0", "1"]])


@pytest.mark.parametrize(
    "inputs",
    [[1, 3, 16, 16], [[None, 3, 16, 16]], paddle.static.InputSpec([-1, 3, 16, 16]), [paddle.ones([1, 3, 16, 16])]],
    ids=["shape", "free", "spec", "tensor"],
)
def test_inputs_are_described_as_for_pruning(inputs):
    assert len(quant.fold_batch_norms(activated(None), inputs)) == 2


def test_inputs_of_another_type_are_refused():
    with pytest.raises(UserError, match="expected a shape"):
        quant.fold_batch_norms(activated(None), "1x3x16x16")

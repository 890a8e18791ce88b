"""The exactness check on networks that amplify rounding."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls_compress.slim.prune.cut.verify import TOLERANCE, Proof, difference, outputs_in_double, outputs_of


class _Reordered(nn.Layer):
    """Sums many products and amplifies the sum's rounding; hidden features in any order give the same sum.

    Args:
        frequency: of the wave.
    """

    def __init__(self, frequency: float) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 512), nn.Linear(512, 4)
        self.order = paddle.to_tensor([3, 1, 0, 2])
        self.pick = nn.Layer()
        self.register_buffer("shared", self.order)
        self.pick.register_buffer("shared", self.order)
        self.frequency = frequency

    def forward(self, x):
        x = paddle.gather(x, self.shared, axis=1)
        x = paddle.gather(self.second(self.first(x)), self.pick.shared, axis=1)
        return paddle.sin(self.frequency * x)

    def reorder(self):
        order = np.random.default_rng(0).permutation(512)
        self.first.weight.set_value(self.first.weight.numpy()[:, order])
        self.first.bias.set_value(self.first.bias.numpy()[order])
        self.second.weight.set_value(self.second.weight.numpy()[order])


def test_what_single_precision_cannot_tell_is_compared_in_double():
    paddle.seed(0)
    model = _Reordered(1e6)
    proof = Proof.of(model, [[2, 4]])
    single = outputs_of(model, proof.inputs)
    model.reorder()
    assert difference(outputs_of(model, proof.inputs), single) > 1e-2
    assert proof.fault(model) is None
    assert model.first.weight.dtype == paddle.float32
    assert model.pick.shared.dtype == paddle.int64
    model.first.bias.set_value(model.first.bias + 1e-6)
    assert "outputs differ" in proof.fault(model)


def _single_only(_, inputs):
    assert inputs[0].dtype == paddle.float32


def test_a_network_that_has_no_double_form_is_compared_as_far_as_single_precision_can_tell():
    paddle.seed(0)
    model = _Reordered(3e3)
    model.register_forward_pre_hook(_single_only)
    proof = Proof.of(model, [[2, 4]])
    single = outputs_of(model, proof.inputs)
    model.reorder()
    assert TOLERANCE < difference(outputs_of(model, proof.inputs), single) < proof.tolerance <= 1e-2
    assert proof.fault(model) is None
    model.first.bias.set_value(model.first.bias + 1e-3)
    assert "outputs differ" in proof.fault(model)


def test_the_default_precision_is_back_when_a_network_fails_in_double():
    model = nn.Linear(4, 4)
    model.register_forward_post_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        outputs_in_double(model, [paddle.ones([1, 4])])
    assert paddle.get_default_dtype() == "float32"


@pytest.mark.parametrize("last", [nn.Identity(), nn.Sequential(nn.AdaptiveAvgPool2D(1), nn.Flatten())])
def test_inputs_that_leave_nothing_to_compare_are_not_made_smaller(last):
    model = nn.Sequential(nn.Conv2D(3, 4, 32, stride=32), nn.Conv2D(4, 8, 3), nn.Conv2D(8, 2, 1), last)
    proof = Proof.of(model, [[1, 3, 256, 256]])
    model[1].weight.set_value(model[1].weight * 2)
    assert "outputs differ" in proof.fault(model)

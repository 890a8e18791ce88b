"""The exactness check on networks that amplify rounding."""

from __future__ import annotations

import paddle
from paddle import nn

from ppcls_compress.slim.prune.verify import TOLERANCE, Proof, difference, outputs_of


class _Chaotic(nn.Layer):
    """Amplifies rounding: the phase of a wave."""

    def __init__(self, frequency: float) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.frequency = frequency
        self.register_buffer("order", paddle.to_tensor([3, 1, 0, 2]))

    def forward(self, x):
        return paddle.sin(self.frequency * paddle.gather(self.fc(x), self.order, axis=1))


def test_amplified_rounding_is_no_fault_and_another_weight_is():
    paddle.seed(0)
    model = _Chaotic(300.0)
    proof = Proof.of(model, [[2, 4]])
    weight = model.fc.weight.numpy()
    model.fc.weight.set_value(weight * (1 + 3e-6))
    assert difference(outputs_of(model, proof.inputs), proof.outputs) > TOLERANCE
    assert proof.fault(model) is None
    model.fc.weight.set_value(weight * (1 + 3e-4))
    assert "outputs differ" in proof.fault(model)


def test_what_single_precision_cannot_tell_is_compared_in_double():
    paddle.seed(0)
    model = _Chaotic(1e5)
    weight = model.fc.weight.numpy()
    proof = Proof.of(model, [[2, 4]])
    assert proof.fault(model) is None
    assert model.fc.weight.dtype == paddle.float32
    assert paddle.get_default_dtype() == "float32"
    model.fc.weight.set_value(weight * (1 + 1e-6))
    assert "outputs differ" in proof.fault(model)

"""The exactness check on networks that amplify rounding."""

from __future__ import annotations

import paddle
from paddle import nn

from ppcls_compress.slim.prune.verify import TOLERANCE, Proof, difference, outputs_of


class _Chaotic(nn.Layer):
    """Amplifies rounding: the phase of a fast wave."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return paddle.sin(300.0 * self.fc(x))


def test_amplified_rounding_is_no_fault_and_another_weight_is():
    paddle.seed(0)
    model = _Chaotic()
    proof = Proof.of(model, [[2, 4]])
    weight = model.fc.weight.numpy()
    model.fc.weight.set_value(weight * (1 + 3e-6))
    assert difference(outputs_of(model, proof.inputs), proof.outputs) > TOLERANCE
    assert proof.fault(model) is None
    model.fc.weight.set_value(weight * (1 + 3e-4))
    assert "outputs differ" in proof.fault(model)

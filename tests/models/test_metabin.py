import numpy as np
import paddle
import pytest

from ppcls_compress import models
from ppcls_compress.models.metabin import MetaBIN


def test_norms_over_batches_and_over_images_are_mixed_by_gates():
    layer = MetaBIN(paddle.nn.BatchNorm2D(3))
    gates = np.array([0.0, 0.25, 1.0], "float32")
    layer.gate.gate.set_value(gates)
    x = np.random.default_rng(0).standard_normal((4, 3, 5, 6)).astype("float32")

    def standard(axes):
        return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)

    mixed = gates[:, None, None]
    expected = mixed * standard((0, 2, 3)) + (1 - mixed) * standard((2, 3))
    np.testing.assert_allclose(layer(paddle.to_tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_every_norm_of_the_network_is_one_under_paddleclas_names():
    names = list(models.build("ResNet50_metabin").state_dict())
    assert names[1:8] == [
        f"stem.0.bn.{name}"
        for name in (
            "batch_norm.weight",
            "batch_norm.bias",
            "batch_norm._mean",
            "batch_norm._variance",
            "instance_norm.scale",
            "instance_norm.bias",
            "gate.gate",
        )
    ]
    assert sum(name.endswith(".gate.gate") for name in names) == 53


@pytest.mark.parametrize("factors", [{}, {"bias": 2.0, "gate": 3.0}])
def test_biases_and_gates_learn_at_their_own_rates(factors):
    network = models.build("ResNet50_metabin", **{f"{name}_lr_factor": factor for name, factor in factors.items()})
    rates = {name.rpartition(".")[2]: p.optimize_attr["learning_rate"] for name, p in network.named_parameters()}
    assert rates | factors == rates
    others = [rate for name, rate in rates.items() if name not in factors]
    assert others == [1.0] * len(others)

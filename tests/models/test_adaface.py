"""Keys, shapes and features are those of PaddleClas' own networks, which were run once with the same weights."""

import numpy as np
import paddle
import pytest

from ppcls_compress import models
from ppcls_compress.errors import ConfigError
from ppcls_compress.models.adaface import Standardize

# name: number of tensors, of numbers in them, last key of the body; the first features of one image
FACTS = {
    "AdaFace_IR_18": (149, 24034944, "body.7.res_layer.5._variance", [-84.735, -195.44, 253.62, 86.304]),
    "AdaFace_IR_SE_50": (437, 43846336, "body.23.res_layer.se_block.fc2.weight", [-140.32, -374.13, 1.2061, 532.32]),
    "AdaFace_IR_152": (
        1084,
        109885056,
        "body.49.res_layer.8._variance",
        [-7034600.0, -53532000.0, -140260000.0, 14946000.0],
    ),
}


def settled(network):
    """The network with weights that any program can draw alike."""
    rng = np.random.default_rng(0)
    state = {}
    for name, tensor in sorted(network.state_dict().items()):
        drawn = rng.standard_normal(tensor.shape) / np.sqrt(max(np.prod(tensor.shape[1:]), 1))
        drawn = np.abs(drawn) + 0.5 if name.endswith(("_variance", "_mean")) else drawn
        state[name] = drawn.astype("float32")
    network.set_state_dict(state)
    network.eval()
    return network


def facts(network):
    image = np.random.default_rng(1).standard_normal((1, 3, 112, 112)).astype("float32")
    with paddle.no_grad():
        features = settled(network)(paddle.to_tensor(image)).numpy()[0, :4]
    state = network.state_dict()
    body = [name for name in state if name.startswith("body.")]
    return len(state), sum(tensor.size for tensor in state.values()), body[-1], features


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTS)
def test_weights_and_features_are_upstreams(name):
    tensors, numbers, last, expected = FACTS[name]
    *found, features = facts(models.build(name))
    assert found == [tensors, numbers, last]
    np.testing.assert_allclose(features, expected, rtol=2e-3, atol=1e-5)


def test_images_of_other_sizes_are_refused():
    with pytest.raises(ConfigError, match="Arch.input_size"):
        models.build("AdaFace_IR_18", input_size=[100, 100])


def test_the_last_norm_is_a_batch_norm_without_scale_and_shift():
    own, plain = Standardize(6), paddle.nn.BatchNorm1D(6, weight_attr=False, bias_attr=False)
    assert list(own.state_dict()) == list(plain.state_dict()) == ["_mean", "_variance"]
    rows = paddle.to_tensor(np.random.default_rng(0).standard_normal((8, 6)).astype("float32"))
    for mode in ("train", "eval"):
        for layer in (own, plain):
            getattr(layer, mode)()
        np.testing.assert_allclose(own(rows).numpy(), plain(rows).numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(own._mean.numpy(), plain._mean.numpy(), rtol=1e-6)

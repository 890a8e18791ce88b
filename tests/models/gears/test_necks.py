import numpy as np
import paddle
import pytest
from pydantic import TypeAdapter, ValidationError

from ppcls_compress.declare import named
from ppcls_compress.models.gears import HEADS, NECKS
from ppcls_compress.models.gears.base import ParamAttr

X = np.random.default_rng(0).standard_normal((3, 4)).astype("float32")


def neck(**section):
    return TypeAdapter(named(NECKS)).validate_python(section).build()


def state(layer):
    return {name: value.numpy() for name, value in layer.state_dict().items()}


def test_a_linear_neck():
    layer = neck(name="FC", embedding_size=4, class_num=2)
    weights = state(layer)
    assert list(weights) == ["fc.weight", "fc.bias"]
    np.testing.assert_allclose(layer(paddle.to_tensor(X)).numpy(), X @ weights["fc.weight"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("section", [{"name": "BNNeck"}, {"name": "MetaBNNeck", "use_global_stats": True}])
def test_a_batch_norm_neck_flattens_and_standardises(section):
    """That of MetaBIN with the statistics of the batch, whatever its file says."""
    layer = neck(num_features=4, **section)
    assert list(state(layer)) == ["feat_bn.weight", "feat_bn.bias", "feat_bn._mean", "feat_bn._variance"]
    expected = (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-5)
    np.testing.assert_allclose(layer(paddle.to_tensor(X.reshape(3, 4, 1, 1))).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_vehicle_neck_is_a_convolution_with_bias():
    layer = neck(name="VehicleNeck", in_channels=4, out_channels=2)
    weights = state(layer)
    assert list(weights) == ["conv.weight", "conv.bias"]
    expected = X @ weights["conv.weight"].reshape(2, 4).T + weights["conv.bias"]
    np.testing.assert_allclose(layer(paddle.to_tensor(X.reshape(3, 4, 1, 1))).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_features_of_the_frfn_neck_have_a_length_of_one():
    layer = neck(name="FRFNNeck", num_features=4, low_dim=3)
    weights = state(layer)
    assert list(weights) == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    hidden = X @ weights["fc1.weight"] + weights["fc1.bias"]
    expected = np.where(hidden > 0, hidden, 0.1 * hidden) @ weights["fc2.weight"] + weights["fc2.bias"]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(layer(paddle.to_tensor(X)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_tanh():
    np.testing.assert_allclose(neck(name="Tanh")(paddle.to_tensor(X)).numpy(), np.tanh(X), rtol=1e-5)


def test_parameters_start_and_learn_as_described():
    attr = {
        "initializer": {"name": "Constant", "value": 3},
        "learning_rate": "1e-20",
        "regularizer": {"name": "L2Decay"},
    }
    layer = HEADS.get("FC")(embedding_size=4, class_num=2, weight_attr=attr, bias_attr=False).build()
    assert layer.fc.bias is None
    assert layer.fc.weight.numpy().tolist() == [[3.0] * 2] * 4
    assert layer.fc.weight.optimize_attr["learning_rate"] == 1e-20
    assert type(layer.fc.weight.regularizer).__name__ == "L2Decay"


@pytest.mark.parametrize(
    ("initializer", "deviation"),
    [
        ({"name": "KaimingUniform", "fan_in": 12288}, np.sqrt(6 / 12288) / np.sqrt(3)),
        ({"name": "KaimingNormal", "fan_in": 128, "nonlinearity": "leaky_relu"}, np.sqrt(2 / 128)),
        ({"name": "Normal", "std": 0.001}, 0.001),
        ({"name": "XavierNormal"}, np.sqrt(2 / 400)),
        ({"name": "XavierUniform"}, np.sqrt(6 / 400) / np.sqrt(3)),
        ({"name": "Uniform", "low": 0, "high": 1}, np.sqrt(1 / 12)),
    ],
)
def test_initializers_draw_what_their_names_say(initializer, deviation):
    attr = ParamAttr.model_validate({"initializer": initializer}).build()
    paddle.seed(0)
    drawn = paddle.nn.Linear(200, 200, weight_attr=attr).weight.numpy()
    assert drawn.std() == pytest.approx(deviation, rel=0.02)


def test_an_unknown_initializer_is_told_with_what_there_is():
    with pytest.raises(ValidationError, match="unknown initializer 'Kaiming'"):
        ParamAttr.model_validate({"initializer": {"name": "Kaiming"}})

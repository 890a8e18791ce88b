"""Each optimizer against its formula, with decay, exemptions and clipping."""

import numpy as np
import paddle
import pytest
from pydantic import TypeAdapter

from ppcls_compress.optim.build import build_optimizers
from ppcls_compress.optim.optimizers import OptimizerSection, is_gentle

RATE = 0.1
LR = {"lr": {"name": "Constant", "learning_rate": RATE}}
GRADIENTS = [0.5, -2.0, 1.5]


def section(options):
    return TypeAdapter(OptimizerSection).validate_python(options)


def built(options, model, losses=None):
    return build_optimizers(section(options), model, losses, epochs=1, steps_per_epoch=10)[0]


def steps(options, gradients, model=None):
    """The first value of each parameter after these gradients, the same everywhere; all ones before."""
    model = model or paddle.nn.Linear(2, 2)
    for parameter in model.parameters():
        parameter.set_value(np.ones(parameter.shape, "float32"))
    optimizer = built(options, model)
    for gradient in gradients:
        sum((parameter * gradient).sum() for parameter in model.parameters()).backward()
        optimizer.step()
        optimizer.clear_grad()
    return {name: float(parameter.flatten()[0]) for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    ("name", "lr", "expected"),
    [
        ("Momentum", {"name": "Constant", "learning_rate": 0.0025}, True),
        ("Momentum", {"name": "Constant", "learning_rate": 0.003}, False),
        ("Momentum", {"name": "Cosine", "learning_rate": 0.0025, "warmup_epoch": 2}, True),
        ("Momentum", {"name": "Cosine", "learning_rate": 0.01}, False),  # small at its end alone
        ("Momentum", {"name": "Cosine", "learning_rate": 0.01, "warmup_epoch": 1}, False),  # and at its beginning
        ("Momentum", {"name": "Cosine", "learning_rate": 0.0025, "eta_min": 0.00025}, True),  # above it by rounding
        ("Momentum", {"name": "Cosine", "learning_rate": 0.0033, "warmup_epoch": 9}, False),
        ("Momentum", {"name": "Piecewise", "decay_epochs": [4], "values": [0.1, 0.001]}, False),
        ("Momentum", {"name": "Piecewise", "decay_epochs": [4], "values": [0.001, 0.1]}, False),
        (
            "Momentum",  # in 10 epochs of 100 steps it would stay below the limit
            {"name": "Cyclic", "base_learning_rate": 1e-4, "max_learning_rate": 0.01, "step_size_up": 10**6},
            False,
        ),
        ("SGD", {"name": "Constant", "learning_rate": 0.025}, True),
        ("AdamW", {"name": "Constant", "learning_rate": 0.001}, False),
        ("AdamW", {"name": "Constant", "learning_rate": 0.00025}, True),
    ],
)
def test_a_training_is_gentle_where_all_of_its_rates_are_small(name, lr, expected):
    one = {"name": name, "lr": lr}
    assert is_gentle(section(one), 10) == expected
    sharp = {"name": "SGD", "lr": {"name": "Constant", "learning_rate": 1.0}, "scope": "fc"}
    assert not is_gentle(section([one, sharp]), 10)


MOMENTUM = {"name": "Momentum", **LR}
ADAMW = {"name": "AdamW", **LR, "weight_decay": 0.5}
L2 = {"regularizer": {"name": "L2", "coeff": 0.5}}


def momentum(nesterov=False, decay=0.0):
    value, velocity = 1.0, 0.0
    for gradient in GRADIENTS:
        gradient = gradient + decay * value
        velocity = 0.9 * velocity + gradient
        value -= RATE * (gradient + 0.9 * velocity if nesterov else velocity)
    return value


def sgd(decay=0.0, sign=0.0):
    value = 1.0
    for gradient in GRADIENTS:
        value -= RATE * (gradient + decay * value + sign * np.sign(value))
    return value


def adam(added=0.0, decoupled=0.0, rate=RATE):
    value, first, second = 1.0, 0.0, 0.0
    for step, gradient in enumerate(GRADIENTS, 1):
        value *= 1 - rate * decoupled
        gradient = gradient + added * value
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        value -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return value


def rmsprop(decay=0.0):
    value, mean, velocity = 1.0, 0.0, 0.0
    for gradient in GRADIENTS:
        gradient = gradient + decay * value
        mean = 0.9 * mean + 0.1 * gradient**2
        velocity = 0.9 * velocity + RATE * gradient / np.sqrt(mean + 0.001)
        value -= velocity
    return value


def lamb(decay=0.0, size=4):
    value, first, second = 1.0, 0.0, 0.0
    for step, gradient in enumerate(GRADIENTS, 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        move = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-6) + decay * value
        value -= RATE * (abs(value) / abs(move)) * move
    return value


RMSPROP = {"name": "RMSProp", **LR, "momentum": 0.9, "rho": 0.9, "epsilon": 0.001}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (MOMENTUM, momentum()),
        (MOMENTUM | {"use_nesterov": True}, momentum(nesterov=True)),
        (MOMENTUM | L2, momentum(decay=0.5)),
        (MOMENTUM | {"weight_decay": 0.5}, momentum(decay=0.5)),
        (MOMENTUM | L2 | {"weight_decay": 9}, momentum(decay=0.5)),
        ({"name": "SGD", **LR, **L2}, sgd(decay=0.5)),
        ({"name": "SGD", **LR, "regularizer": {"name": "L1", "coeff": 0.5}}, sgd(sign=0.5)),
        ({"name": "Adam", **LR}, adam()),
        ({"name": "Adam", **LR, **L2}, adam(added=0.5)),
        (ADAMW, adam(decoupled=0.5)),
        (RMSPROP, rmsprop()),
        (RMSPROP | L2, rmsprop(decay=0.5)),
        ({"name": "Lamb", **LR, "weight_decay": 0.5}, lamb(decay=0.5)),
    ],
)
def test_three_steps_are_the_formulas(options, expected):
    found = steps(options, GRADIENTS)
    assert found == pytest.approx({"weight": expected, "bias": expected}, rel=2e-5)


DECAYING = [
    MOMENTUM | L2,
    MOMENTUM | {"weight_decay": 0.5},
    {"name": "SGD", **LR, **L2},
    ADAMW,
    RMSPROP | L2,
    {"name": "Lamb", **LR, "weight_decay": 0.5},
    {"name": "Adam", **LR, **L2},
]


@pytest.mark.parametrize("options", DECAYING, ids=lambda options: options["name"])
@pytest.mark.parametrize("exempt", [{"one_dim_param_no_weight_decay": True}, {"no_weight_decay_name": "bias norm"}])
def test_exempt_parameters_do_not_decay(options, exempt):
    found = steps(options | exempt, [0.0])
    assert found["weight"] < 1.0
    assert found["bias"] == 1.0


@pytest.mark.parametrize("options", [MOMENTUM | L2, ADAMW, {"name": "Lamb", **LR, "weight_decay": 0.5}])
def test_a_parameter_with_a_regularizer_of_its_own_keeps_it(options):
    """As the learned range of a quantizer has, which must not decay towards anything else."""
    model = paddle.nn.Linear(2, 2)
    model.bias.regularizer = paddle.regularizer.L2Decay(0.0)
    model.weight.regularizer = paddle.regularizer.L2Decay(0.0)
    assert steps(options | {"one_dim_param_no_weight_decay": True}, [0.0], model) == {"weight": 1.0, "bias": 1.0}


@pytest.mark.parametrize("name", ["Momentum", "SGD"])
def test_clip_norm_limits_each_parameter(name):
    found = steps({"name": name, **LR, "clip_norm": 1.0}, [100.0])
    assert found == pytest.approx({"weight": 1 - RATE / 2, "bias": 1 - RATE / 2**0.5}, rel=1e-5)


def test_a_rate_without_a_schedule_is_constant():
    assert steps(MOMENTUM | {"lr": {"learning_rate": RATE}}, [1.0])["weight"] == pytest.approx(0.9)


class Blocks(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.patch_embed = paddle.nn.Linear(1, 1)
        self.blocks = paddle.nn.LayerList([paddle.nn.Linear(1, 1) for _ in range(3)])
        self.head = paddle.nn.Linear(1, 1)


def test_layerwise_decay_shrinks_the_rate_and_the_decay_from_the_last_block_to_the_first():
    options = {"name": "AdamWDL", **LR, "weight_decay": 0.5, "layerwise_decay": 0.5}
    found = steps(options, GRADIENTS, Blocks())
    expected = {"patch_embed": 0.5**4, "blocks.0": 0.5**3, "blocks.1": 0.5**2, "blocks.2": 0.5, "head": 1.0}
    for layer, ratio in expected.items():
        assert found[f"{layer}.weight"] == pytest.approx(adam(decoupled=0.5, rate=RATE * ratio), rel=1e-5)
        assert found[f"{layer}.bias"] == pytest.approx(adam(rate=RATE * ratio), rel=1e-5)


def test_without_the_filter_biases_decay_too():
    options = {"name": "AdamWDL", **LR, "weight_decay": 0.5, "filter_bias_and_bn": False}
    assert steps(options, [0.0])["bias"] == pytest.approx(0.95)


def test_layerwise_decay_wants_numbered_blocks():
    with pytest.raises(ValueError, match="no layers that are numbered as blocks"):
        steps({"name": "AdamWDL", **LR, "layerwise_decay": 0.5}, [0.0])


def test_keys_that_change_nothing_are_told():
    options = {"name": "Adam", **LR, **L2, "weight_decay": 1, "lazy_mode": True, "clip_grad": 5.0}
    assert [key for key, _ in section(options)[0].inert()] == ["clip_grad", "weight_decay", "lazy_mode"]

import numpy as np
import paddle
import pytest
from pydantic import TypeAdapter

from ppcls_compress.declare import named
from ppcls_compress.optim.build import build_optimizer, build_schedule
from ppcls_compress.optim.optimizers import OPTIMIZERS


def one_step(options, *, gradient=0.0):
    """The parameters of a linear layer, all ones before, after one step with the same gradient everywhere."""
    config = TypeAdapter(named(OPTIMIZERS)).validate_python(options)
    model = paddle.nn.Linear(2, 2)
    for parameter in model.parameters():
        parameter.set_value(np.ones(parameter.shape, "float32"))
    optimizer = build_optimizer(config, build_schedule(config.lr, epochs=1, steps_per_epoch=10), model)
    sum((parameter * gradient).sum() for parameter in model.parameters()).backward()
    optimizer.step()
    return {name: float(parameter.flatten()[0]) for name, parameter in model.named_parameters()}


MOMENTUM = {"name": "Momentum", "lr": {"name": "Constant", "learning_rate": 0.1}}
ADAMW = {"name": "AdamW", "lr": {"name": "Constant", "learning_rate": 0.1}, "weight_decay": 0.5}


def test_momentum_adds_l2_to_the_gradient():
    decayed = MOMENTUM | {"regularizer": {"name": "L2", "coeff": 0.5}}
    assert one_step(decayed) == pytest.approx({"weight": 0.95, "bias": 0.95})
    assert one_step(MOMENTUM, gradient=1.0) == pytest.approx({"weight": 0.9, "bias": 0.9})


def test_nesterov_looks_ahead():
    assert one_step(MOMENTUM | {"use_nesterov": True}, gradient=1.0)["weight"] == pytest.approx(1 - 0.1 * 1.9)


@pytest.mark.parametrize("options", [MOMENTUM | {"regularizer": {"name": "L2", "coeff": 0.5}}, ADAMW])
@pytest.mark.parametrize("exempt", [{"one_dim_param_no_weight_decay": True}, {"no_weight_decay_name": "bias norm"}])
def test_exempt_parameters_do_not_decay(options, exempt):
    assert one_step(options | exempt) == pytest.approx({"weight": 0.95, "bias": 1.0})


@pytest.mark.parametrize("options", [MOMENTUM | {"regularizer": {"name": "L2", "coeff": 0.5}}, ADAMW])
def test_a_parameter_with_a_regularizer_of_its_own_keeps_it(options):
    """As the learned range of a quantizer has, which must not decay towards anything else."""
    config = TypeAdapter(named(OPTIMIZERS)).validate_python(options | {"one_dim_param_no_weight_decay": True})
    model = paddle.nn.Linear(2, 2)
    model.bias.set_value(np.ones(2, "float32"))
    model.bias.regularizer = paddle.regularizer.L2Decay(0.0)
    model.weight.regularizer = paddle.regularizer.L2Decay(0.0)
    before = model.weight.numpy().copy()
    optimizer = build_optimizer(config, build_schedule(config.lr, epochs=1, steps_per_epoch=10), model)
    (0.0 * (model.weight.sum() + model.bias.sum())).backward()
    optimizer.step()
    np.testing.assert_array_equal(model.weight.numpy(), before)
    np.testing.assert_array_equal(model.bias.numpy(), np.ones(2, "float32"))


def test_clip_norm_limits_each_parameter():
    found = one_step(MOMENTUM | {"clip_norm": 1.0}, gradient=100.0)
    assert found == pytest.approx({"weight": 1 - 0.1 / 2, "bias": 1 - 0.1 / 2**0.5}, rel=1e-5)


def test_a_rate_without_a_schedule_is_constant():
    assert one_step(MOMENTUM | {"lr": {"learning_rate": 0.1}}, gradient=1.0)["weight"] == pytest.approx(0.9)

import re

import numpy as np
import paddle
import pytest
from support.training import SHAPE, tiny_trainer

from ppcls_compress.engine.hooks import nan_guard
from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.hooks.checkpoints import Checkpoints
from ppcls_compress.engine.hooks.nan_guard import NanGuard
from ppcls_compress.errors import UserError
from ppcls_compress.slim import quant
from ppcls_compress.slim.finite import first_not_finite
from ppcls_compress.slim.options import QuantOptions
from ppcls_compress.slim.recipe import empty_record

QUANTIZERS = [
    None,
    {"name": "pact"},
    {"name": "pact", "grid": "moving_average"},
    {"name": "lsq"},
    {"name": "qat"},
    {"name": "pact", "compat": "paddleslim"},
]


class Spoil(Hook):
    """Puts NaN into one value of the named tensor in the second epoch."""

    def __init__(self, name="0.weight"):
        self._name = name

    def before_epoch(self, trainer):
        if trainer.progress.epoch == 1:
            spoil(trainer.model, self._name)


def spoil(model, name):
    tensor = model.state_dict()[name]
    values = tensor.numpy()
    values.reshape(-1)[0] = np.nan
    tensor.set_value(values)


def saved(folder):
    return {path.stem for path in folder.glob("*.pdparams")}


def network(activation=paddle.nn.Identity):
    paddle.seed(7)
    return paddle.nn.Sequential(
        paddle.nn.Conv2D(3, 4, 3),
        paddle.nn.BatchNorm2D(4),
        activation(),
        paddle.nn.Conv2D(4, 4, 1),
        activation(),
        paddle.nn.Flatten(),
        paddle.nn.Linear(16, 5),
    )


def quantized(model, options):
    if options is None:
        return model
    model, _ = quant.prepare(model, QuantOptions(**options))
    quant.calibrate(model, [paddle.rand([4, *SHAPE])])
    model.train()
    return model


@pytest.mark.parametrize("every", [1, 100])
def test_the_run_stops_names_the_layer_and_keeps_the_last_checkpoint(tmp_path, every):
    hooks = [Spoil(), NanGuard(every), Checkpoints(tmp_path, empty_record(), 1)]
    with pytest.raises(
        UserError, match=r"stopped in epoch 2, batch 1: .*first layer with such values: 0 \(its parameter weight\)\."
    ):
        tiny_trainer(hooks=hooks).run()
    assert saved(tmp_path) == {"epoch_1", "latest"}


@pytest.mark.parametrize("options", QUANTIZERS)
@pytest.mark.parametrize("name", ["3.weight", "3.bias", "6.weight", "6.bias"])
def test_the_layer_that_is_named_is_the_one_that_is_broken(options, name):
    model = quantized(network(), options)
    spoil(model, name)
    layer, _, key = name.partition(".")
    assert first_not_finite(model, paddle.rand([4, *SHAPE])) == f"{layer} (its parameter {key})"
    assert model.training


@pytest.mark.parametrize("options", QUANTIZERS)
@pytest.mark.parametrize("name", ["3.weight", "3.bias", "6.weight", "6.bias"])
def test_a_run_names_it_before_a_step_has_carried_it_everywhere(options, name):
    trainer = tiny_trainer(hooks=[Spoil(name), NanGuard(100)], build=lambda: quantized(network(), options))
    layer, _, key = name.partition(".")
    with pytest.raises(UserError, match=rf"first layer with such values: {layer} \(its parameter {key}\)\."):
        trainer.run()


def test_an_output_that_overflows_is_told_from_a_broken_parameter():
    model = network()
    model[3].weight.set_value(np.full([4, 4, 1, 1], 3e38, "float32"))
    assert first_not_finite(model, paddle.rand([4, *SHAPE])) == "3 (its output)"


def test_where_the_loss_is_looked_at_late_the_text_says_so(monkeypatch):
    monkeypatch.setattr(NanGuard, "after_backward", late)
    with pytest.raises(UserError, match=r"stopped in epoch 2, batch 3: .*an earlier one: the weights were updated"):
        tiny_trainer(hooks=[Spoil(), NanGuard(3)]).run()


def late(guard, trainer, batch):
    """What a guard does on a device that is not the CPU."""
    guard._images, guard._worst = batch.images, batch.loss if guard._worst is None else guard._worst + batch.loss


@pytest.mark.parametrize("options", QUANTIZERS)
def test_broken_weights_behind_a_finite_loss_do_not_replace_a_good_checkpoint(tmp_path, options):
    """Paddle's ReLU on a CPU makes NaN 0."""
    hooks = [Spoil("3.bias"), NanGuard(1), Checkpoints(tmp_path, empty_record(), 1)]
    trainer = tiny_trainer(hooks=hooks, build=lambda: quantized(network(paddle.nn.ReLU), options))
    with pytest.raises(UserError, match=r"after epoch 2: the loss is finite, but these weights are not: 3\.bias\. The"):
        trainer.run()
    assert saved(tmp_path) == {"epoch_1", "latest"}


@pytest.mark.parametrize("name", ["1._variance", "3._fake_quant_input._scale", "3._fake_quant_input.log_alpha"])
def test_statistics_and_the_state_of_quantizers_are_weights_too(name):
    class SpoilAtTheEnd(Hook):
        def after_epoch(self, trainer):
            spoil(trainer.model, name)

    options = {"name": "pact", "grid": "moving_average"}
    trainer = tiny_trainer(hooks=[SpoilAtTheEnd(), NanGuard(1)], build=lambda: quantized(network(), options))
    with pytest.raises(UserError, match=rf"stopped after epoch 1: .* not: {re.escape(name)}\. The last checkpoint"):
        trainer.run()


def test_the_broken_are_listed_from_the_last_and_whole_numbers_pass_over():
    tensors = {name: paddle.to_tensor([value]) for name, value in zip("abcde", [np.nan] * 4 + [1.0], strict=True)}
    broken = nan_guard.not_finite({**tensors, "whole": paddle.to_tensor([1])})
    assert broken == ["a", "b", "c", "d"]
    assert nan_guard._shortened(broken) == "d, c, b and 1 more"


def test_a_healthy_run_goes_through():
    assert tiny_trainer(epochs=2, hooks=[NanGuard(1)]).run().epoch == 2

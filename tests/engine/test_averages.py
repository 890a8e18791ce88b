"""The moving average of a network: its formula, and that it is what is evaluated, saved and resumed."""

import json

import numpy as np
import paddle
import pytest
from support.commands import QUANT, call
from support.project import make_project
from support.training import same, tiny_trainer, weights

from ppcls_compress import io
from ppcls_compress.engine.averages import MovingAverage
from ppcls_compress.engine.hooks.averaging import Averaging
from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.hooks.evaluation import Evaluation

PRUNE = "Slim.prune={name: fpgm, pruned_ratio: 0.3}"


class States(Hook):
    """The network's state after each step."""

    def __init__(self):
        self.found = []

    def after_batch(self, trainer, batch):
        self.found.append(weights(trainer))


def averaged_trainer(decay=0.75, hooks=(), **settings):
    trainer = tiny_trainer(hooks=[Averaging(), *hooks], **settings)
    trainer.average = MovingAverage(trainer.model, decay)
    return trainer


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_average_of_each_tensor_is_its_formula(accumulate):
    states = States()
    trainer = averaged_trainer(hooks=[states], epochs=2, accumulate=accumulate)
    expected = weights(trainer)
    trainer.run()
    for state in states.found[accumulate - 1 :: accumulate]:
        expected = {name: 0.75 * value + 0.25 * state[name] for name, value in expected.items()}
    found = trainer.average.state_dict()
    assert any(name.endswith("_variance") for name in found)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("decay", [0.9, 0.997, 0.9999])
def test_what_does_not_change_stays_exactly_as_it_is(decay):
    model = paddle.nn.Layer()
    values = np.float32([1, 2, 3, 0.1, 1e-7, 12345.678])
    model.register_buffer("marks", paddle.to_tensor(values))
    average = MovingAverage(model, decay)
    for _ in range(20):
        average.update()
    np.testing.assert_array_equal(average.state_dict()["marks"].numpy(), values)


def test_counts_are_taken_as_they_are():
    model = paddle.nn.Layer()
    model.register_buffer("seen", paddle.to_tensor([3], dtype="int64"))
    average = MovingAverage(model, 0.5)
    model.seen.set_value(paddle.to_tensor([7], dtype="int64"))
    average.update()
    assert average.state_dict()["seen"].item() == 7


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_averages_of_16_bits_have_32(dtype):
    model = paddle.nn.Layer()
    model.register_buffer("weight", paddle.ones([2]).astype(dtype))
    average = MovingAverage(model, 0.9999)
    model.weight.set_value(paddle.full([2], 2.0).astype(dtype))
    for _ in range(100):
        average.update()
    found = average.state_dict()["weight"]
    assert found.dtype == paddle.float32
    np.testing.assert_allclose(found.numpy(), 2 - 0.9999**100, rtol=1e-5)
    with average.applied():
        assert model.weight.dtype == getattr(paddle, dtype)
        assert float(model.weight[0].astype("float32")) == pytest.approx(2 - 0.9999**100, abs=0.01)
    assert float(model.weight[0].astype("float32")) == 2.0


def test_the_average_is_evaluated_and_training_goes_on_with_what_it_had():
    seen = []
    judge = Evaluation(lambda: seen.append(weights(trainer)) or {"top1": 0.5}, 1, "top1")
    trainer = averaged_trainer(epochs=1, hooks=[judge])
    plain = tiny_trainer(epochs=1)
    trainer.run()
    plain.run()
    assert same(weights(trainer), weights(plain))
    assert same(seen[0], {name: value.numpy() for name, value in trainer.average.state_dict().items()})
    assert not same(seen[0], weights(trainer))


def test_an_evaluation_that_fails_leaves_the_weights():
    def fail():
        raise ValueError

    trainer = averaged_trainer(epochs=1, hooks=[Evaluation(fail, 1, "top1")])
    plain = tiny_trainer(epochs=1)
    with pytest.raises(ValueError, match="^$"):
        trainer.run()
    plain.run()
    assert same(weights(trainer), weights(plain))


@pytest.fixture(scope="module", params=[(), (PRUNE, QUANT)], ids=["dense", "slim"])
def run(request, tmp_path_factory):
    """A run of three epochs whose weights are averaged."""
    config = make_project(tmp_path_factory.mktemp("ema"), EMA={"decay": 0.9})
    overrides = ["Global.epochs=3", *request.param]
    assert call("train", config, *overrides) == 0
    return config, overrides


def checkpoint_of(run, name="latest"):
    return run[0].parent / "output/CIFARResNet8" / name


def test_a_resumed_run_has_the_same_weights_and_averages(run, tmp_path):
    config, overrides = run
    start = f"Global.checkpoints={checkpoint_of(run, 'epoch_1')}"
    assert call("train", config, *overrides, start, f"Global.output_dir={tmp_path}") == 0
    for ending in ("pdparams", "pdema"):
        whole, again = (
            io.read_state(f"{prefix}.{ending}") for prefix in (checkpoint_of(run), tmp_path / "CIFARResNet8/latest")
        )
        assert same(whole, again)


def test_the_saved_weights_are_the_average_and_score_what_training_said(run, tmp_path):
    config, overrides = run
    saved, trained = (io.read_state(f"{checkpoint_of(run)}.{ending}") for ending in ("pdparams", "pdema"))
    assert saved.keys() == trained.keys()
    assert not same(saved, trained)
    states = io.read_state(f"{checkpoint_of(run)}.pdstates")
    report = tmp_path / "score.json"
    start = f"Global.pretrained_model={checkpoint_of(run)}"
    assert call("eval", config, *overrides, start, arguments=["--json", str(report)]) == 0
    text = json.dumps(json.loads(report.read_text()))
    for name, value in states["progress"]["metrics"].items():
        assert f'"{name}": {value}' in text


def test_without_the_average_a_run_goes_on_with_the_trained_weights(run, tmp_path, capsys):
    config, overrides = run
    start = f"Global.checkpoints={checkpoint_of(run, 'epoch_2')}"
    more = ["EMA=null", "Optimizer.lr={name: Constant, learning_rate: 1e-30}", f"Global.output_dir={tmp_path}"]
    assert call("train", config, *overrides, start, *more) == 0
    assert "EMA.decay was 0.9" in capsys.readouterr().err
    trained = io.read_state(f"{checkpoint_of(run, 'epoch_2')}.pdema")
    found = io.read_state(tmp_path / "CIFARResNet8/latest.pdparams")
    for name in (name for name in trained if name.endswith((".weight", ".bias"))):
        np.testing.assert_array_equal(found[name], trained[name], err_msg=name)
    assert not list(tmp_path.rglob("*.pdema"))

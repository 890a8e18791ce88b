import json

import paddle
import pytest
from support.training import same, tiny_trainer, weights

from ppcls_compress import io
from ppcls_compress.engine import checkpoint
from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.hooks.checkpoints import Checkpoints
from ppcls_compress.engine.hooks.evaluation import Evaluation
from ppcls_compress.engine.train import _whose_best
from ppcls_compress.engine.training import Progress
from ppcls_compress.errors import UserError
from ppcls_compress.losses import build_loss
from ppcls_compress.losses.center import CenterLoss
from ppcls_compress.slim.recipe import empty_record


def resumed(prefix, **settings):
    trainer = tiny_trainer(**settings)
    trainer.model.set_state_dict(
        {name: paddle.to_tensor(value) for name, value in io.read_state(f"{prefix}.pdparams").items()}
    )
    checkpoint.restore(prefix, trainer)
    return trainer


def weights_of(prefix):
    return io.read_state(f"{prefix}.pdparams")


@pytest.mark.parametrize("optimizer", ["Momentum", "SGD", "Adam", "AdamW", "RMSProp", "Lamb"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, optimizer):
    whole = tiny_trainer(epochs=4, optimizer=optimizer)
    whole.run()
    first = tiny_trainer(epochs=2, optimizer=optimizer, hooks=[Checkpoints(tmp_path, empty_record(), 1)])
    first.run()
    second = resumed(tmp_path / "latest", epochs=4, optimizer=optimizer)
    assert second.progress.epoch == 2
    second.run()
    assert same(weights(whole), weights(second))
    assert second.progress.step == whole.progress.step
    assert second.optimizer.get_lr() == whole.optimizer.get_lr()


def test_checkpoints_are_named_latest_best_and_epoch(tmp_path):
    values = iter([0.5, 0.7, 0.6, 0.7])
    hooks = [Evaluation(lambda: {"top1": next(values)}, 1, "top1"), Checkpoints(tmp_path, empty_record(), 2)]
    trainer = tiny_trainer(epochs=4, hooks=hooks)
    trainer.run()
    names = {path.name for path in tmp_path.iterdir()}
    parts = ("pdparams", "pdopt", "pdstates", "slim.json")
    assert names == {f"{name}.{part}" for name in ("latest", "best_model", "epoch_2", "epoch_4") for part in parts}
    assert checkpoint.read_states(tmp_path / "best_model")["progress"]["epoch"] == 2
    assert checkpoint.read_states(tmp_path / "latest")["progress"]["best"] == 0.7


def test_resuming_keeps_the_best_metric(tmp_path):
    hooks = [Evaluation(lambda: {"top1": 0.9}, 1, "top1"), Checkpoints(tmp_path, empty_record(), 1)]
    tiny_trainer(epochs=1, hooks=hooks).run()
    assert resumed(tmp_path / "latest").progress.best == 0.9


def evaluated(folder, values, *, higher=True, metric="top1"):
    found = iter(values)
    evaluation = Evaluation(lambda: {metric: next(found)}, 1, metric, higher_is_better=higher)
    return [evaluation, Checkpoints(folder, empty_record(), 1, metric=metric, higher_is_better=higher)]


@pytest.mark.parametrize(
    ("higher", "values", "kept"),
    [
        (True, [0.7, 0.75], 3),
        (True, [0.7, 0.95], 4),
        (True, [0.7, 0.9], 4),
        (False, [0.95, 0.92], 3),
        (False, [0.95, 0.1], 4),
    ],
    ids=["worse", "better later", "as good", "lower is better, worse", "lower is better, better"],
)
def test_going_on_from_before_the_best_epoch_does_not_lose_it_to_a_worse_one(tmp_path, caplog, higher, values, kept):
    first = [0.5, 0.6, 0.9] if higher else [0.99, 0.98, 0.9]
    tiny_trainer(epochs=3, hooks=evaluated(tmp_path, first, higher=higher)).run()
    best = weights_of(tmp_path / "best_model")
    with caplog.at_level("INFO"):
        resumed(tmp_path / "epoch_2", epochs=4, hooks=evaluated(tmp_path, values, higher=higher)).run()
    assert "top1 90.00% in epoch 3, is better than what this run goes on from" in caplog.text
    assert checkpoint.saved_epoch(tmp_path / "best_model") == kept
    assert checkpoint.saved_epoch(tmp_path / "latest") == 4
    assert same(best, weights_of(tmp_path / "best_model")) == (kept == 3)


def test_the_best_is_kept_however_often_the_run_is_stopped_after_it(tmp_path):
    tiny_trainer(epochs=4, hooks=evaluated(tmp_path, [0.5, 0.6, 0.9, 0.8])).run()
    best = weights_of(tmp_path / "best_model")
    resumed(tmp_path / "epoch_2", epochs=3, hooks=evaluated(tmp_path, [0.7])).run()
    resumed(tmp_path / "latest", epochs=5, hooks=evaluated(tmp_path, [0.72, 0.75])).run()
    assert same(best, weights_of(tmp_path / "best_model"))
    resumed(tmp_path / "latest", epochs=6, hooks=evaluated(tmp_path, [0.91])).run()
    assert checkpoint.saved_epoch(tmp_path / "best_model") == 6


def test_what_was_best_by_another_metric_or_in_an_earlier_run_of_the_folder_is_not_kept(tmp_path, caplog):
    tiny_trainer(epochs=3, hooks=evaluated(tmp_path, [0.5, 0.6, 0.9], metric="top5")).run()
    resumed(tmp_path / "epoch_2", epochs=3, hooks=evaluated(tmp_path, [0.7])).run()
    assert checkpoint.read_states(tmp_path / "best_model")["progress"]["metrics"] == {"top1": 0.7}
    fresh = [Checkpoints(tmp_path, empty_record(), 1)]
    tiny_trainer(epochs=1, hooks=fresh).run()  # stopped before its first evaluation
    trainer = resumed(tmp_path / "latest", epochs=2, hooks=evaluated(tmp_path, [0.2]))
    trainer.settings = {"Optimizer.lr.learning_rate": 0.1}
    trainer.run()
    assert checkpoint.read_states(tmp_path / "best_model")["progress"]["metrics"] == {"top1": 0.2}


def test_the_outcome_tells_whose_best_model_is_there(tmp_path):
    def said(**own):
        return _whose_best(tmp_path, Progress(**{"best": 0.9, "best_epoch": 3, **own}), "top1")

    assert "there is no best_model of it in" in said()
    tiny_trainer(epochs=3, hooks=evaluated(tmp_path, [0.5, 0.6, 0.9])).run()
    assert said() == ""
    assert said(best=0.7) == "; best_model is another, top1 90.00%, of epoch 3 of before"
    assert said(best_epoch=2) == "; best_model is another, top1 90.00%, of epoch 3 of before"
    assert _whose_best(tmp_path, Progress(best=0.7, best_epoch=2), "recall1").endswith("another of epoch 3 of before")


def test_evaluation_comes_every_interval_and_at_the_end():
    calls = []

    class Count(Hook):
        def after_epoch(self, trainer):
            calls.append((trainer.progress.epoch, dict(trainer.progress.metrics)))

    results = iter([{"top1": 0.1}, {"top1": 0.2}])
    tiny_trainer(epochs=3, hooks=[Evaluation(lambda: next(results), 2, "top1"), Count()]).run()
    assert calls == [(1, {}), (2, {"top1": 0.1}), (3, {"top1": 0.2})]


@pytest.mark.parametrize("part", ["pdparams", "pdopt", "slim.json"])
def test_a_half_written_checkpoint_is_recognised(tmp_path, part):
    tiny_trainer(epochs=1, hooks=[Checkpoints(tmp_path, empty_record(), 1)]).run()
    assert checkpoint.read_states(tmp_path / "latest")["progress"]["epoch"] == 1
    path = tmp_path / f"latest.{part}"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match="half-written") as error:
        checkpoint.read_states(tmp_path / "latest")
    assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(UserError, match="half-written"):
        checkpoint.read_states(tmp_path / "latest")


def test_another_optimizer_is_told(tmp_path):
    tiny_trainer(epochs=1, optimizer="Momentum", hooks=[Checkpoints(tmp_path, empty_record(), 1)]).run()
    with pytest.raises(UserError, match=r"has no moment1, which Optimizer.name AdamW needs"):
        resumed(tmp_path / "latest", optimizer="AdamW")


def test_weights_of_another_origin_have_no_record(tmp_path):
    io.write_state(tmp_path / "plain.pdparams", {})
    assert checkpoint.read_record(tmp_path / "plain") == empty_record()
    io.write_state(tmp_path / "plain.pdstates", {"epoch": 3, "metric": 0.5})
    with pytest.raises(UserError, match="start from its weights with Global.pretrained_model"):
        checkpoint.read_states(tmp_path / "plain")


def test_a_save_that_fails_leaves_the_earlier_checkpoint_usable(tmp_path, monkeypatch):
    trainer = tiny_trainer(epochs=1, hooks=[Checkpoints(tmp_path, empty_record(), 1)])
    trainer.run()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with paddle.no_grad():
        for parameter in trainer.model.parameters():
            parameter.set_value(parameter + 1)
    write = io.write_state

    def full(path, mapping):
        if str(path).endswith(".pdstates"):
            raise UserError(f"{path}: cannot be written: No space left on device")
        write(path, mapping)

    monkeypatch.setattr(io, "write_state", full)
    with pytest.raises(UserError, match="No space left"):
        checkpoint.save(tmp_path / "latest", trainer, empty_record())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert checkpoint.read_states(tmp_path / "latest")["progress"]["epoch"] == 1


def test_weights_alone_cannot_be_resumed_from(tmp_path):
    checkpoint.save_model(tmp_path / "best", paddle.nn.Linear(2, 2), empty_record())
    with pytest.raises(UserError) as error:
        checkpoint.read_states(tmp_path / "best")
    assert str(error.value) == (
        f"Global.checkpoints: {tmp_path}/best is incomplete, best.pdstates is missing, "
        "so the run cannot go on exactly; start from its weights with Global.pretrained_model"
    )


@pytest.mark.parametrize("text", ["[1, 2]", '"x"', '{"version": 1, "steps": [{}]}', "{"])
def test_a_damaged_record_is_told_with_its_file(tmp_path, text):
    (tmp_path / "best.slim.json").write_text(text)
    with pytest.raises(UserError, match=r"best\.slim\.json: not a "):
        checkpoint.read_record(tmp_path / "best")


def test_the_record_is_plain_json(tmp_path):
    step = {"kind": "prune", "version": 1, "options": {}, "kept": {"conv.weight": {"0": [0, 2]}}, "attributes": []}
    record = {"version": 1, "steps": [step]}
    checkpoint.save_model(tmp_path / "model", paddle.nn.Linear(2, 2), record)
    assert json.loads((tmp_path / "model.slim.json").read_text()) == record
    assert checkpoint.read_record(checkpoint.plain_prefix(tmp_path / "model.pdparams")) == record


def test_what_is_no_state_of_a_loss_is_told(tmp_path):
    trainer = tiny_trainer()
    trainer.loss = build_loss([CenterLoss(num_classes=5, feat_dim=4)])
    with pytest.raises(UserError, match=r"latest\.pdloss: CenterLoss: found a list, not its state by name"):
        checkpoint._restore_losses(trainer, {"CenterLoss": [3]}, tmp_path / "latest")

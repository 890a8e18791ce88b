import dataclasses

import pytest
from support.training import tiny_trainer

from ppcls_compress.config.load import load_config, validate
from ppcls_compress.engine import train
from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.hooks.early_stopping import EarlyStopping
from ppcls_compress.engine.training import Progress
from ppcls_compress.errors import ConfigError, UserError

NAN = float("nan")


class Scores(Hook):
    """An evaluation that gives these values, one after each of the epochs named; all of them by default."""

    def __init__(self, values, name="top1", epochs=None):
        self.values, self.name, self.epochs = values, name, epochs

    def after_epoch(self, trainer):
        epoch = trainer.progress.epoch
        if self.epochs is None or epoch in self.epochs:
            trainer.progress.metrics = {self.name: self.values[epoch - 1]}


def run(values, stopping, *, progress=None, name="top1", epochs=None):
    trainer = tiny_trainer(epochs=len(values), batches=1, hooks=[Scores(values, name, epochs), stopping])
    trainer.progress = progress or trainer.progress
    return trainer.run()


@pytest.mark.parametrize(
    ("values", "options", "last", "stopped"),
    [
        ([0.1, 0.3, 0.2, 0.3, 0.4, 0.5], {"patience": 2}, 4, True),
        ([0.1, 0.3, 0.2, 0.4, 0.3, 0.5], {"patience": 2}, 6, False),
        ([0.1, 0.2, 0.21, 0.22, 0.23, 0.24], {"patience": 3, "min_delta": 0.05}, 5, True),
        ([NAN, 0.1, 0.2, 0.3], {"patience": 2}, 4, False),
        ([0.1, NAN, 0.2, NAN, NAN, 0.3], {"patience": 2}, 5, True),
        ([NAN, NAN, 0.2], {"patience": 2}, 2, True),
        ([0.1, 0.2, 0.2], {"patience": 1}, 3, False),  # the last epoch ends the run anyway
    ],
)
def test_a_run_ends_after_so_many_evaluations_that_are_no_better(values, options, last, stopped):
    found = run(values, EarlyStopping(metric="top1", higher_is_better=True, **options))
    assert (found.epoch, found.stopped) == (last, stopped)


def test_a_loss_is_better_when_it_is_smaller():
    falling = EarlyStopping(2, "loss", higher_is_better=False)
    assert run([3.0, 2.0, 2.5, 2.0, 1.0], falling, name="loss").epoch == 4


@pytest.mark.parametrize(("metric", "last"), [("AccuracyScore", 5), ("HammingDistance", 2), (None, 2)])
def test_what_is_better_is_told_by_the_metric_that_is_watched(metric, last):
    labels = {"use_multilabel": True, "early_stopping": {"patience": 1, "metric": metric}}
    arch = {"name": "CIFARResNet8", "class_num": 3}
    metrics = {"Eval": [{"HammingDistance": None}, {"AccuracyScore": None}]}
    config = validate({"Global": labels, "Arch": arch, "Metric": metrics}, source="test")
    found = run([0.1, 0.2, 0.3, 0.4, 0.5], train._early_stopping(config), name=metric or "HammingDistance")
    assert found.epoch == last


def test_epochs_without_an_evaluation_do_not_count():
    found = run([0.5, 0.4, 0.4, 0.4, 0.4, 0.4], EarlyStopping(2, "top1", higher_is_better=True), epochs=(1, 3, 5))
    assert found.epoch == 5


def test_a_resumed_run_ends_where_it_would_have_ended():
    values = [0.1, 0.3, 0.2, 0.2, 0.2, 0.9]
    whole = run(values, EarlyStopping(3, "top1", higher_is_better=True))
    assert whole.epoch == 5
    for stop in (1, 2, 3, 4):
        first = tiny_trainer(epochs=6, batches=1)
        first.hooks = [Scores(values), EarlyStopping(3, "top1", higher_is_better=True), Until(stop)]
        with pytest.raises(KeyboardInterrupt):
            first.run()
        saved = Progress(**dataclasses.asdict(first.progress))
        assert run(values, EarlyStopping(3, "top1", higher_is_better=True), progress=saved).epoch == 5


class Until(Hook):
    def __init__(self, epoch):
        self.epoch = epoch

    def after_epoch(self, trainer):
        if trainer.progress.epoch == self.epoch:
            raise KeyboardInterrupt


def test_a_metric_that_there_is_not_is_named():
    with pytest.raises(UserError, match="Global.early_stopping.metric: unknown value 'top5'.* Allowed: top1"):
        run([0.1], EarlyStopping(1, "top5", higher_is_better=True))


def test_it_needs_evaluations(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("Arch: {name: CIFARResNet8}\nGlobal: {early_stopping: {patience: 2}}\n")
    assert load_config(path).Global.early_stopping.patience == 2
    with pytest.raises(ConfigError, match="early_stopping watches evaluations, and eval_during_train is False"):
        load_config(path, ["Global.eval_during_train=False"])
    with pytest.raises(ConfigError, match=r"Global.early_stopping.patience: required"):
        load_config(path, ["Global.early_stopping={metric: top1}"])

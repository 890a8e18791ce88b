import struct
import sys

import pytest
from support.training import tiny_trainer

from ppcls_compress.engine.hooks import scalars
from ppcls_compress.engine.hooks.evaluation import Evaluation
from ppcls_compress.errors import MissingDependencyError


@pytest.mark.parametrize(("package", "extra"), [("visualdl", "visualdl"), ("tensorboardX", "tensorboard")])
def test_without_the_extra_one_line_says_what_to_install(tmp_path, monkeypatch, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"use_{extra}: {package} is not installed; .*\[{extra}\]"):
        getattr(scalars, extra)(tmp_path)


def test_curves_are_written_for_visualdl(tmp_path):
    pytest.importorskip("visualdl")
    tiny_trainer(epochs=1, hooks=[scalars.visualdl(tmp_path)]).run()
    assert next(tmp_path.glob("vdlrecords.*")).stat().st_size > 0


def test_curves_are_written_for_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    evaluation = Evaluation(lambda: {"top1": 0.25}, 1, "top1")
    tiny_trainer(epochs=2, batches=3, hooks=[evaluation, scalars.tensorboard(tmp_path)]).run()
    found = list(events(next(tmp_path.glob("events.out.tfevents.*"))))
    assert [step for name, step, _ in found if name == "train/loss"] == list(range(6))
    rates = [value for name, _, value in found if name == "train/learning_rate"]
    assert rates[0] > rates[-1] > 0
    assert [(step, value) for name, step, value in found if name == "eval/top1"] == [(1, 0.25), (2, 0.25)]


def test_a_resumed_run_writes_no_evaluation_twice(tmp_path):
    class Told:
        points = ()

        def add_scalar(self, name, value, step):
            self.points += ((name, step),)

        def close(self):
            pass

    told = Told()
    trainer = tiny_trainer(epochs=1, batches=1, hooks=[scalars.Scalars(lambda: told)])
    trainer.progress.metrics = {"top1": 0.5}
    trainer.run()
    assert [name for name, _ in told.points] == ["train/loss", "train/learning_rate"]


def events(file):
    """(name, step, value) of each scalar in a file of records: a length, a checksum, an event, a checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content = file.read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]
        yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)

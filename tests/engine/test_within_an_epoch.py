"""A run that is stopped within an epoch goes on from its last step, and ends with the same weights."""

import signal

import paddle
import pytest
from support.training import same, tiny_trainer, weights

from ppcls_compress import io
from ppcls_compress.engine import checkpoint
from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.hooks.checkpoints import Checkpoints
from ppcls_compress.slim.recipe import empty_record
from ppcls_compress.stopping import Request, Terminated, postponed


class AskAfter(Hook):
    """Asks to stop after so many batches; listed before the checkpoints, as a signal may come at any time."""

    def __init__(self, batches, request, number=signal.SIGTERM):
        self.left, self.request, self.number = batches, request, number

    def after_batch(self, trainer, batch):
        self.left -= 1
        if self.left == 0:
            self.request.number = self.number


def stopped(folder, after, **settings):
    request = Request()
    hooks = [AskAfter(after, request), Checkpoints(folder, empty_record(), 1, request=request)]
    with pytest.raises(Terminated) as told:
        tiny_trainer(hooks=hooks, **settings).run()
    assert told.value.number == signal.SIGTERM


def resumed(prefix, **settings):
    trainer = tiny_trainer(**settings)
    state = io.read_state(f"{prefix}.pdparams")
    trainer.model.set_state_dict({name: paddle.to_tensor(value) for name, value in state.items()})
    checkpoint.restore(prefix, trainer)
    return trainer


@pytest.mark.parametrize(
    ("accumulate", "after", "optimizer"),
    [*((steps, after, "Momentum") for steps in (1, 2) for after in (1, 2, 4, 5, 7)), (3, 2, "AdamW"), (1, 8, "AdamW")],
)
def test_stopped_after_any_batch_it_ends_with_the_same_weights(tmp_path, accumulate, after, optimizer):
    settings = {"epochs": 3, "batches": 5, "accumulate": accumulate, "optimizer": optimizer}
    whole = tiny_trainer(**settings)
    whole.run()
    stopped(tmp_path, after, **settings)
    second = resumed(tmp_path / "latest", **settings)
    assert (second.progress.epoch, second.progress.batch) != (0, 0)
    second.run()
    assert same(weights(whole), weights(second))
    assert second.progress.step == whole.progress.step
    assert second.optimizer.get_lr() == whole.optimizer.get_lr()


def test_the_step_is_finished_before_it_stops(tmp_path):
    stopped(tmp_path, 1, batches=5, accumulate=2)
    progress = checkpoint.read_states(tmp_path / "latest")["progress"]
    assert (progress["epoch"], progress["batch"], progress["step"]) == (0, 2, 1)


def test_asked_in_the_last_epochs_last_batch_the_run_ends_as_it_would(tmp_path):
    request = Request()
    hooks = [AskAfter(10, request), Checkpoints(tmp_path, empty_record(), 1, request=request)]
    assert tiny_trainer(epochs=2, batches=5, hooks=hooks).run().epoch == 2


def test_latest_is_saved_every_few_steps(tmp_path):
    seen = []

    class Look(Hook):
        def after_batch(self, trainer, batch):
            path = tmp_path / "latest.pdstates"
            seen.append(checkpoint.read_states(tmp_path / "latest")["progress"]["step"] if path.exists() else 0)

    tiny_trainer(epochs=1, batches=7, hooks=[Checkpoints(tmp_path, empty_record(), 1, every_steps=3), Look()]).run()
    assert seen == [0, 0, 3, 3, 3, 6, 6]


def test_a_run_with_other_batches_begins_the_epoch_anew(tmp_path):
    stopped(tmp_path, 7, epochs=3, batches=5)
    second = resumed(tmp_path / "latest", epochs=3, batches=4)
    assert (second.progress.epoch, second.progress.batch) == (1, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_noted_and_the_second_stops_at_once(number):
    kind = KeyboardInterrupt if number == signal.SIGINT else Terminated
    with postponed() as request:
        signal.raise_signal(number)
        assert request.number == number
        with pytest.raises(kind):
            signal.raise_signal(number)

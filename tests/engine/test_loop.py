import numpy as np
import paddle
import pytest
from support.training import same, tiny_trainer, weights

from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.models.labelled import TakesLabels


class Recorder(Hook):
    def __init__(self):
        self.events = []

    def before_training(self, trainer):
        self.events.append("before_training")

    def before_epoch(self, trainer):
        self.events.append(f"before_epoch {trainer.progress.epoch}")

    def after_backward(self, trainer, batch):
        self.events.append(f"after_backward {batch.index}, {trainer.progress.step} steps")

    def after_batch(self, trainer, batch):
        self.events.append(f"batch {batch.index} of {len(batch.labels)}, {trainer.progress.step} steps")

    def after_epoch(self, trainer):
        self.events.append(f"after_epoch {trainer.progress.epoch}")

    def after_training(self, trainer):
        self.events.append("after_training")


def test_hooks_are_called_in_the_documented_order():
    recorder = Recorder()
    progress = tiny_trainer(epochs=2, batches=2, hooks=[recorder]).run()

    def batches(steps):
        first = (f"after_backward 0, {steps} steps", f"batch 0 of 6, {steps + 1} steps")
        return [*first, f"after_backward 1, {steps + 1} steps", f"batch 1 of 6, {steps + 2} steps"]

    assert recorder.events == [
        "before_training",
        "before_epoch 0", *batches(0), "after_epoch 1",
        "before_epoch 1", *batches(2), "after_epoch 2",
        "after_training",
    ]  # fmt: skip
    assert (progress.epoch, progress.step) == (2, 4)


def test_after_training_is_called_when_training_fails():
    class Failing(Recorder):
        def after_batch(self, trainer, batch):
            raise RuntimeError("no more")

    recorder = Failing()
    with pytest.raises(RuntimeError, match="no more"):
        tiny_trainer(hooks=[recorder]).run()
    assert recorder.events[-1] == "after_training"


def test_equal_seeds_give_equal_weights():
    first, second = tiny_trainer(), tiny_trainer()
    first.run()
    second.run()
    assert same(weights(first), weights(second))


def test_training_changes_weights_and_statistics():
    trainer = tiny_trainer(epochs=1)
    before = weights(trainer)
    trainer.run()
    after = weights(trainer)
    assert all(not np.array_equal(before[name], after[name]) for name in before)


def test_accumulated_gradients_are_the_mean_of_the_group():
    """Four batches in groups of three: the last group has one batch, and its gradient is not divided by three."""
    losses = []

    class Watch(Hook):
        def after_batch(self, trainer, batch):
            losses.append(batch.loss)

    trainer = tiny_trainer(epochs=1, batches=4, accumulate=3, hooks=[Watch()])
    trainer.model[3].p = 0.0
    trainer.model[1].eval()  # keep batches independent of each other
    start = [parameter.clone() for parameter in trainer.model.parameters()]
    trainer.run()
    assert trainer.progress.step == 2

    expected = tiny_trainer(epochs=1, batches=4)
    expected.model.set_state_dict(
        dict(zip(expected.model.state_dict(), tiny_trainer().model.state_dict().values(), strict=True))
    )
    expected.model[3].p = 0.0
    assert all(bool((a == b).all()) for a, b in zip(start, expected.model.parameters(), strict=True))
    expected.model.train()
    expected.loader.set_epoch(0)
    batches = list(expected.loader)
    for group in (batches[:3], batches[3:]):
        loss = sum(expected.loss(expected.model(images), labels, images).total for images, labels in group) / len(group)
        loss.backward()
        expected.optimizer.step()
        expected.optimizer.clear_grad()
        expected.schedule.step()
    for found, wanted in zip(trainer.model.parameters(), expected.model.parameters(), strict=True):
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-6)


def test_losses_handed_to_hooks_hold_no_graph():
    class Watch(Hook):
        def after_batch(self, trainer, batch):
            assert batch.loss.stop_gradient
            assert batch.output.stop_gradient
            assert isinstance(batch.loss, paddle.Tensor)

    tiny_trainer(epochs=1, hooks=[Watch()]).run()


class Margin(TakesLabels):
    """Scores of a linear layer; in training one is taken off the score of the right class."""

    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(48, 5)
        self.seen = []

    def forward(self, images, labels=None):
        scores = self.linear(images.flatten(1))
        self.seen.append(labels)
        if labels is not None:
            scores = scores - paddle.nn.functional.one_hot(labels, 5)
        return {"features": images.flatten(1), "logits": scores, "neck": None}


def test_a_network_that_takes_labels_gets_them_in_training_and_its_output_is_handed_on_as_it_is():
    batches = []

    class Watch(Hook):
        def after_batch(self, trainer, batch):
            batches.append(batch)

    trainer = tiny_trainer(epochs=1, batches=2, hooks=[Watch()], build=Margin)
    trainer.run()
    assert [labels.tolist() for labels in trainer.model.seen] == [batch.labels.tolist() for batch in batches]
    assert list(batches[0].output) == ["features", "logits", "neck"]
    assert batches[0].output["logits"].stop_gradient
    assert batches[0].output["neck"] is None
    assert list(batches[0].terms) == ["CELoss"]

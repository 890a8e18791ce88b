import logging
import re

import numpy as np
import paddle
import pytest
from support.training import SHAPE, tiny_trainer

from ppcls_compress.engine.hooks import messages
from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.hooks.messages import Messages
from ppcls_compress.engine.logs import logger
from ppcls_compress.losses import build_loss
from ppcls_compress.losses.cross_entropy import CELoss
from ppcls_compress.metrics import Metrics
from ppcls_compress.metrics.topk import TopkAcc, rank_of_label


class Counting(Metrics):
    """Top-1; remembers how many samples it measured at a time."""

    def __init__(self):
        super().__init__([TopkAcc(topk=(1,))])
        self.sizes = []

    def measure(self, kept):
        self.sizes.append(sum(len(rows["rank"]) for (rows,) in kept))
        return super().measure(kept)


class Logits(Hook):
    def __init__(self):
        self.correct = self.count = 0

    def after_batch(self, trainer, batch):
        self.correct += (rank_of_label(batch.output.numpy(), batch.labels.numpy()) == 0).sum()
        self.count += len(batch.labels)


@pytest.mark.parametrize(("every", "kept", "sizes"), [(2, 32, [12, 12, 6]), (100, 32, [30]), (100, 2, [12, 12, 6])])
def test_metrics_are_computed_when_a_message_is_due_or_enough_is_kept(monkeypatch, caplog, every, kept, sizes):
    """Batches of 6, five an epoch."""
    monkeypatch.setattr(messages, "_KEPT", kept)
    monkeypatch.setattr(logger, "propagate", True)
    metrics, seen = Counting(), Logits()
    with caplog.at_level(logging.INFO, logger=logger.name):
        tiny_trainer(epochs=1, batches=5, hooks=[Messages(every, metrics), seen]).run()
    assert metrics.sizes == sizes
    assert f"top1 {100 * seen.correct / seen.count:.2f}%" in caplog.messages[-1]


def test_a_step_reads_nothing(monkeypatch):
    trainer = tiny_trainer(epochs=1, batches=3, hooks=[])
    hook = Messages(100, Counting())
    hook.before_training(trainer)
    hook.before_epoch(trainer)
    batch = type("Batch", (), {})()
    batch.index, batch.images, batch.loss = 0, paddle.rand([6, *SHAPE]), paddle.zeros([])
    batch.terms, batch.output, batch.labels = {}, paddle.rand([6, 5]), paddle.to_tensor(np.zeros(6, "int64"))

    def read(tensor):
        raise AssertionError("a tensor was read")

    for name in ("numpy", "item", "__float__"):
        monkeypatch.setattr(paddle.Tensor, name, read)
    hook.after_batch(trainer, batch)


def test_terms_are_told_when_there_are_several(monkeypatch, caplog):
    monkeypatch.setattr(logger, "propagate", True)
    trainer = tiny_trainer(epochs=1, batches=2, hooks=[Messages(100, Counting())])
    trainer.loss = build_loss([CELoss(), CELoss(weight=0.5)])
    with caplog.at_level(logging.INFO, logger=logger.name):
        trainer.run()
    found = re.search(r"loss ([0-9.]+) \(CELoss ([0-9.]+), CELoss_2 ([0-9.]+)\)", caplog.messages[-1])
    total, first, second = map(float, found.groups())
    assert total == pytest.approx(first + second, abs=2e-4)
    assert second == pytest.approx(first / 2, abs=2e-4)


@pytest.mark.parametrize(("speed", "told"), [(0.43, "0.4 images/s"), (9.96, "10.0 images/s"), (123.4, "123 images/s")])
def test_few_images_in_a_second_are_not_told_as_none(speed, told):
    numbers = messages.Numbers(1.0, {}, {}, lr=0.1, images_per_second=speed, seconds_left=5)
    assert f", {told}, " in messages._note(numbers)

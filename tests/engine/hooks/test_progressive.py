import paddle
from support.training import tiny_trainer

from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.hooks.progressive import ProgressiveDropout


class Head(paddle.nn.Layer):
    """As PaddleClas' EfficientNetV2 ends."""

    def __init__(self):
        super().__init__()
        self.dropout_rate = [0.1, 0.2, 0.3, 0.4]
        self._dropout = paddle.nn.Dropout(0.1)
        self._fc = paddle.nn.Linear(48, 5)

    def forward(self, x):
        return self._fc(self._dropout(x.flatten(1)))


class Rates(Hook):
    def __init__(self):
        self.found = []

    def after_epoch(self, trainer):
        self.found.append(trainer.model[0]._dropout.p)


def test_dropout_grows_with_the_parts_of_the_run():
    rates = Rates()
    tiny_trainer(
        epochs=8, batches=1, hooks=[ProgressiveDropout(), rates], build=lambda: paddle.nn.Sequential(Head())
    ).run()
    assert rates.found == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4]


def test_other_networks_are_left_alone():
    trainer = tiny_trainer(epochs=2, batches=1, hooks=[ProgressiveDropout()])
    trainer.run()
    assert trainer.model[3].p == 0.5

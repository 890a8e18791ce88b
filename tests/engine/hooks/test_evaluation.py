import logging
from typing import ClassVar

from support.training import tiny_trainer

from ppcls_compress.engine.hooks.evaluation import Evaluation, describe
from ppcls_compress.engine.logs import logger
from ppcls_compress.metrics import METRICS, Metric


def test_fractions_are_told_in_percent_and_losses_and_thresholds_are_not():
    found = describe({"top1": 0.5, "CELoss": 0.25, "tpr": 0.125, "threshold": 0.75})
    assert found == "top1 50.00%, CELoss 0.2500, tpr 12.50%, threshold 0.7500"


def test_the_best_value_is_told_as_its_metric_says(caplog, monkeypatch):
    class Distance(Metric):
        numbers: ClassVar = ("distance",)

    monkeypatch.setitem(METRICS._entries, "Distance", Distance)
    found = iter([3.0, 2.0, 2.5])
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO, logger=logger.name):
        tiny_trainer(hooks=[Evaluation(lambda: {"distance": next(found)}, 1, "distance", higher_is_better=False)]).run()
    assert caplog.messages[-1] == "epoch 3/3, evaluation: distance 2.5000; best distance 2.0000 in epoch 2"

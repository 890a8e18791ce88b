import logging

import paddle
import pytest
from support.training import SHAPE, tiny_network, tiny_trainer

from ppcls_compress.engine.hooks.quantizers import Quantizers
from ppcls_compress.engine.logs import logger
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["alpha (clipped): 0 "]),
        ({"compat": "paddleslim"}, ["alpha (clipped): 0 "]),
        ({"name": "qat", "weight_preprocess_type": "PACT"}, ["alpha of weights (clipped): 0 "]),
        (
            {"compat": "paddleslim", "weight_preprocess_type": "PACT"},
            ["alpha (clipped): 0 ", "alpha of weights (clipped): 0 "],
        ),
        ({"name": "qat"}, []),
    ],
)
def test_an_epoch_tells_every_alpha_and_what_it_clipped(monkeypatch, caplog, settings, expected):
    options = QuantOptions(**settings)

    def build():
        model, _ = quant.prepare(tiny_network(), options)
        quant.calibrate(model, [paddle.rand([4, *SHAPE])])
        return model

    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO, logger=logger.name):
        tiny_trainer(epochs=1, hooks=[Quantizers(options)], build=build).run()
    lines = [message for message in caplog.messages if "alpha" in message]
    assert [line[: len(start)] for line, start in zip(lines, expected, strict=True)] == expected
    assert all(line.count("%)") == 2 for line in lines)

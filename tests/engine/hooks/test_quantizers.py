import json
import logging

import paddle
import pytest
from support.training import SHAPE, tiny_network, tiny_trainer

from ppcls_compress.engine.hooks.quantizers import FILE, Quantizers
from ppcls_compress.engine.logs import logger
from ppcls_compress.slim import quant
from ppcls_compress.slim.options import QuantOptions


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["alpha (clipped): "]),
        ({"compat": "paddleslim"}, ["alpha (clipped): "]),
        ({"name": "qat", "weight_preprocess_type": "PACT"}, ["alpha of weights (clipped): "]),
        (
            {"compat": "paddleslim", "weight_preprocess_type": "PACT"},
            ["alpha (clipped): ", "alpha of weights (clipped): "],
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
    lines = [message for message in caplog.messages if "(clipped)" in message]
    assert [line[: len(start)] for line, start in zip(lines, expected, strict=True)] == expected
    assert all("2 layers, " in line and line.count("(") == 4 for line in lines)


@pytest.mark.parametrize(
    ("alpha", "share", "frozen", "told"),
    [(0.03, 0.9, 1, True), (0.03, 0.9, None, True), (0.03, 0.4, 1, False), (0.9, 0.9, 1, False)],
)
def test_a_training_that_falls_apart_is_warned_of(monkeypatch, caplog, alpha, share, frozen, told):
    row = {"layer": "conv1", "alpha": 1.0, "clip_rate": None, "weight_alpha": None, "weight_clip_rate": None}
    later = {**row, "alpha": alpha, "clip_rate": share}
    found = iter([[row, {**row, "layer": "conv2"}], [later, {**row, "layer": "conv2"}]])
    monkeypatch.setattr(quant, "statistics", lambda model: next(found))
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.WARNING, logger=logger.name):
        tiny_trainer(epochs=1, hooks=[Quantizers(QuantOptions(freeze_bn_epoch=frozen))]).run()
    lines = [message for message in caplog.messages if "falls apart" in message]
    assert len(lines) == told
    if told:
        assert lines[0].startswith("alpha: 1 of 2 layers have less than a tenth of the range that they began with")
        assert "conv1 90%" in lines[0]
        assert ("freeze_bn_epoch: never" in lines[0]) == (frozen is not None)


def test_every_layer_of_every_epoch_is_in_a_file_that_a_resumed_run_goes_on_with(tmp_path):
    def build():
        model, _ = quant.prepare(tiny_network(), QuantOptions())
        quant.calibrate(model, [paddle.rand([4, *SHAPE])])
        return model

    tiny_trainer(epochs=2, hooks=[Quantizers(QuantOptions(), tmp_path)], build=build).run()
    lines = (tmp_path / FILE).read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    rows = json.loads(lines[1])["layers"]
    assert [row["layer"] for row in rows] == list(quant.quant_layers(build()))
    assert all(row["alpha"] > 0 and 0 <= row["clip_rate"] <= 1 for row in rows)
    (tmp_path / FILE).write_text("\n".join([lines[0], "no JSON", lines[1]]) + "\n")
    trainer = tiny_trainer(epochs=2, hooks=[Quantizers(QuantOptions(), tmp_path)], build=build)
    trainer.progress.epoch = 1
    trainer.run()
    again = (tmp_path / FILE).read_text().splitlines()
    assert again[0] == lines[0]
    assert [json.loads(line)["epoch"] for line in again] == [1, 2]

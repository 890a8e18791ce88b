"""Artifacts that a runtime computes wrongly as it usually runs them."""

import logging

import numpy as np
import paddle
import pytest
from support.exporting import export

from ppcls_compress.deploy import artifact, verify
from ppcls_compress.deploy.paddle import inference
from ppcls_compress.deploy.predictor import Predictor
from ppcls_compress.errors import UserError

SHAPE = (3, 4, 4)
IMAGES = np.random.default_rng(3).standard_normal((4, *SHAPE), np.float32)


def linear():
    paddle.seed(0)
    return paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(48, 5))


def wrong_in(monkeypatch, *settings, crashing=()):
    tried = []

    def run(directory, images, runtime=None):
        predictor = Predictor(directory)
        tried.append(predictor.artifact.description.setting)
        if tried[-1] in crashing:
            raise UserError("it crashed with SIGSEGV")
        found = predictor.logits(images)
        return (found[:, ::-1] if tried[-1] in settings else found), {}

    monkeypatch.setattr(verify, "run_fresh", run)
    return tried


@pytest.mark.parametrize(("crashing", "why"), [((), "does not compute what the trained one does"), (("",), "SIGSEGV")])
def test_the_first_setting_that_answers_rightly_is_kept_told_and_used(tmp_path, monkeypatch, caplog, crashing, why):
    tried = wrong_in(monkeypatch, "", "apart", "fused", crashing=crashing)
    result = export(linear(), tmp_path, image_shape=SHAPE, output="logits", images=IMAGES)
    assert tried == ["", "apart", "fused", "plain"]
    description = result.artifact.description
    assert description.setting == "plain"
    (note,) = description.notes
    assert note.startswith("runs without oneDNN (elsewhere config.disable_mkldnn()), which is slower; as usual, ")
    assert why in note
    assert (result.parity.agreement, description.parity["agreement"]) == (1.0, 1.0)
    opened, create = [], inference.create
    monkeypatch.setattr(inference, "create", lambda *given: opened.append(given[2]) or create(*given))
    caplog.set_level(logging.INFO, "ppcls_compress")
    Predictor(tmp_path)
    assert opened == ["off"]
    assert caplog.messages == [f"{tmp_path}: runs in Paddle Inference, without oneDNN"]


def test_one_that_answers_rightly_as_usual_has_no_setting(tmp_path, monkeypatch):
    tried = wrong_in(monkeypatch, "apart", "fused", "plain")
    description = export(linear(), tmp_path, image_shape=SHAPE, images=IMAGES).artifact.description
    assert (tried, description.setting, description.notes) == ([""], "", ())


def test_a_network_that_was_written_wrongly_fails_in_each(tmp_path, monkeypatch):
    tried = wrong_in(monkeypatch, "", "apart", "fused", "plain")
    with pytest.raises(UserError, match="does not compute what the trained one does"):
        export(linear(), tmp_path, image_shape=SHAPE, images=IMAGES)
    assert tried == ["", "apart", "fused", "plain"]
    assert not (tmp_path / artifact.DESCRIPTION).exists()


def test_a_setting_that_does_not_exist_is_told(tmp_path):
    export(linear(), tmp_path, image_shape=SHAPE)
    path = tmp_path / artifact.DESCRIPTION
    path.write_text(path.read_text().replace("setting: ''", "setting: fusd"))
    with pytest.raises(UserError, match="unknown setting of Paddle Inference 'fusd'; did you mean 'fused'"):
        Predictor(tmp_path)

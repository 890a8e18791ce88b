import contextlib
import json
import threading

import pytest
from support.here import modules_run_here
from support.onnx_extras import needs_onnx
from support.project import make_project

from ppcls_compress.config.load import load_config, read_overridden
from ppcls_compress.deploy import artifact, fresh
from ppcls_compress.engine import assemble, checkpoint, train
from ppcls_compress.errors import UserError
from ppcls_compress.search import judge, preparing, run, split, trial, workshop
from ppcls_compress.search.board import PASSING, Job
from ppcls_compress.slim.record import empty_record

SLIM = {"prune": {"name": "fpgm", "pruned_ratio": 0.5}, "quant": {"name": "pact"}}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A search that was begun: the dense network is exported and judged."""
    pytest.importorskip("optuna")
    folder = tmp_path_factory.mktemp("trial")
    file = make_project(folder)
    overrides = [f"Global.pretrained_model={folder / 'dense'}", "Slim.auto={max_drop: 100, target: {params: 0.5}}"]
    overrides += ["Global.export_agreement=0.5"]
    config = load_config(file, overrides)
    checkpoint.save_model(folder / "dense", assemble.build_dense(config), empty_record())
    found = run.workshop_of(config, read_overridden(file, overrides)[0])
    found.identify(preparing._identity(found, *split.halves(config)))
    return found


def job(name, slim):
    what = {"slot": 0, "round": 0, "title": name, "slim": slim, "epochs": 1, "rate": 1.0, "by_hand": False}
    return Job(name, what, "running", 0)


class Jobs:
    """A board that keeps what it is told."""

    def __init__(self):
        self.told = {}

    def alive(self, job):
        return contextlib.nullcontext(threading.Event())

    def finish(self, job, result):
        self.told[job.name] = result
        return True


@needs_onnx
@pytest.mark.slow
def test_a_candidate_is_trained_exported_and_judged_once(shop, monkeypatch):
    modules_run_here(monkeypatch)
    dense = preparing._dense(shop, split.halves(shop.config)[0])
    jobs, one = Jobs(), job("000-0", {**SLIM, "distill": {"teacher": shop.config.Global.pretrained_model}})
    assert shop.do(jobs, one) is True
    row = jobs.told["000-0"]
    shares = judge.Costs(**row["cost"]).shares(dense)
    assert 0.1 < shares["params"] < 0.5
    assert shares["bytes"] < shares["params"]
    assert row["drop"]["images"] == 6  # half of the validation images
    folder = shop.place_of("000-0")
    answers = judge.answers(split.halves(shop.config)[0], folder / row["artifact"], None)
    kept = judge.load(folder / trial.ANSWERS)
    assert {key: rows.tolist() for key, rows in answers.items()} == {key: rows.tolist() for key, rows in kept.items()}
    monkeypatch.setattr(trial, "_train", None)  # it is not done again
    trial.carry_out(folder)


@needs_onnx
@pytest.mark.slow
def test_a_candidate_that_is_calibrated_is_trained_in_float(shop, monkeypatch):
    modules_run_here(monkeypatch)
    preparing._dense(shop, split.halves(shop.config)[0])
    jobs = Jobs()
    shop.do(jobs, job("300-0", {**SLIM, "quant": {"name": "ptq", "placement": "layers", "asymmetric": "auto"}}))
    row, folder = jobs.told["300-0"], shop.place_of("300-0")
    kinds = [each["kind"] for each in artifact.load(folder / row["artifact"]).record["steps"]]
    assert kinds == ["prune", "quant"]
    (trained,) = (folder / "run").rglob("latest.slim.json")
    assert [each["kind"] for each in json.loads(trained.read_text())["steps"]] == ["prune"]


def test_a_pruned_candidate_starts_with_statistics_of_its_own(shop, tmp_path):
    given = {"folder": tmp_path, "epochs": 1, "rate": 1.0}
    found = trial.recipe(shop.base, SLIM, **given)["Slim"]
    assert found == {"prune": {**SLIM["prune"], "bn_recalibration": 8}, "quant": SLIM["quant"]}
    assert trial.recipe(shop.base, {"quant": SLIM["quant"]}, **given)["Slim"] == {"quant": SLIM["quant"]}
    assert "bn_recalibration" not in SLIM["prune"]


def test_what_would_fail_again_is_a_result_and_what_may_pass_is_not(shop, monkeypatch):
    modules_run_here(monkeypatch)

    def fails(error):
        def training(config, **_):
            raise error

        return training

    jobs, full = Jobs(), UserError("latest.pdparams: cannot be written")
    full.__cause__ = OSError(28, "No space left on device")
    for name, error in (("100-0", UserError("the loss is NaN")), ("101-0", full)):
        monkeypatch.setattr(train, "train", fails(error))
        shop.do(jobs, job(name, SLIM))
    assert jobs.told["100-0"] == {"failed": "the loss is NaN"}
    assert json.loads((shop.place_of("100-0") / trial.ROW).read_text()) == {"failed": "the loss is NaN"}
    assert jobs.told["101-0"] == {"failed": "latest.pdparams: cannot be written", PASSING: True}
    assert not (shop.place_of("101-0") / trial.ROW).exists()


def test_what_was_taken_over_is_stopped_and_has_no_result(shop, monkeypatch):
    jobs = Jobs()

    def run_module(module, folder, *, unwanted, **_):
        unwanted.set()
        raise fresh.StoppedError("stopped")

    monkeypatch.setattr(workshop.fresh, "run_module", run_module)
    assert shop.do(jobs, job("200-0", SLIM)) is False
    assert jobs.told == {}


def test_a_process_whose_result_is_not_wanted_any_more_ends(tmp_path, monkeypatch):
    unwanted = threading.Event()
    unwanted.set()
    monkeypatch.setattr(fresh, "_LOOK", 0.01)
    monkeypatch.setattr(fresh, "command", lambda *_: ["sleep", "60"])
    with pytest.raises(fresh.StoppedError):
        fresh.run_module("any", unwanted=unwanted)

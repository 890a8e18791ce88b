"""What training leaves in a folder, the page about it, and that such a page never fails the work it is about."""

from __future__ import annotations

import json
import os
import signal

import pytest
from support.outline import outline
from support.project import make_project

from ppcls_compress.cli import main
from ppcls_compress.config.load import load_config
from ppcls_compress.engine.hooks.base import Hook
from ppcls_compress.engine.train import train
from ppcls_compress.errors import UserError
from ppcls_compress.report.page import curves, runs, write
from ppcls_compress.report.page.runs import Epoch, Run
from ppcls_compress.slim.record import empty_record
from ppcls_compress.stopping import Terminated, terminable

SLIM = "Slim={prune: {name: fpgm, pruned_ratio: 0.3}, quant: {name: pact}}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    config = make_project(root)
    assert main(["train", "-c", str(config), "-o", SLIM, "--json-log", str(root / "events.jsonl")]) == 0
    return root


def test_a_run_ends_with_a_page_of_what_it_has_kept_and_says_where_it_is(trained):
    folder = trained / "output" / "CIFARResNet8"
    events = [json.loads(line) for line in (trained / "events.jsonl").read_text().splitlines()]
    assert next(event["what"] for event in events if event["event"] == "started") == "loading PaddlePaddle"
    *_, last = (event["message"] for event in events if event["event"] == "message")
    assert last == f"what came of it, as a page: {folder / 'report.html'}"
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert not outline(text).loaded
    for shown in ("Training", "Channels kept", "Learned ranges", "Values on their grids", "top1 in epoch", "8/8 bits"):
        assert shown in text
    assert f"train -c {trained / 'config.yaml'}" in text
    assert any("grids" in path.name for path in (folder / "report_pictures").glob("*.png"))


def test_epochs_are_kept_with_what_evaluation_found(trained):
    found = runs.trained("run", trained / "output")
    assert [epoch.number for epoch in found.history] == [1, 2]
    assert all(epoch.evaluation.keys() == {"top1", "top2", "loss"} for epoch in found.history)
    assert found.history[0].loss > found.history[1].loss
    assert found.history[-1].main == "top1"
    assert len(found.histograms) == len(found.ranges[-1]["layers"]) == 8


def test_a_resumed_run_goes_on_with_its_epochs(trained):
    latest = trained / "output" / "CIFARResNet8" / "latest"
    options = ["-o", SLIM, "-o", f"Global.checkpoints={latest}", "-o", "Global.epochs=3", "--no-report"]
    folder = trained / "output" / "CIFARResNet8"
    before = (folder / "report.html").read_bytes()
    assert main(["train", "-c", str(trained / "config.yaml"), *options]) == 0
    assert [epoch.number for epoch in runs.trained("run", folder).history] == [1, 2, 3]
    assert (folder / "report.html").read_bytes() == before


class _Stop(Hook):
    """Asks a run to stop at the last batch of an epoch."""

    def after_batch(self, trainer, batch):
        if trainer.progress.batch == len(trainer.loader):
            signal.raise_signal(signal.SIGTERM)


def test_of_a_run_that_is_stopped_after_an_epoch_that_epoch_is_kept(tmp_path):
    config = make_project(tmp_path)
    with pytest.raises(Terminated), terminable():
        train(load_config(config), extra_hooks=[_Stop()])
    assert [epoch.number for epoch in runs.trained("run", tmp_path / "output").history] == [1]


def test_what_is_no_number_in_an_evaluation_has_no_point_in_a_curve(tmp_path):
    losses = [2.0, float("nan"), float("inf"), 1.0]
    history = [Epoch(i, 1.0, 0.1, {}, {"top1": 0.5, "loss": loss}, "top1", 1) for i, loss in enumerate(losses, 1)]
    section = curves.section([Run("net", tmp_path, [], empty_record(), history)])
    told = next(section.drawings()).svg()
    assert [f"validation, epoch {epoch}:" in told for epoch in (1, 2, 3, 4)] == [True, False, False, True]


@pytest.mark.parametrize(
    ("more", "rules", "told"),
    [
        ({}, [], ("2/4 bits", "of weights and inputs in 1 layers")),
        ({}, [{"layers": ["first"], "weight_bits": 8}], ("2/4 bits", "in 1 layers, but for those of per_layer")),
        ({"bits": {"conv": 8}}, [{"layers": ["first"], "unsigned": False}], ("mixed/4 bits", "in 1 layers")),
    ],
)
def test_bits_of_layers_with_their_own_are_not_told_as_those_of_all(tmp_path, more, rules, told):
    options = {"weight_bits": 2, "activation_bits": 4, "per_layer": rules}
    step = {"kind": "quant", "options": options, "quantized": ["conv"], "skipped": [], **more}
    run = Run("net", tmp_path, [], {**empty_record(), "steps": [step]})
    number, what = told
    assert f"<b>{number}</b>" in write.Page([run], []).headline()
    assert f"{what}</li>" in write.Page([run], []).headline()


def test_training_alone_has_a_page_too(trained, tmp_path, capsys):
    page, rows = tmp_path / "page.html", tmp_path / "rows.json"
    with_table = ["report", "-c", str(trained / "config.yaml"), str(trained / "output"), "--page", str(page)]
    assert main([*with_table, "--out", str(rows)]) == 2
    assert "holds no exported model" in capsys.readouterr().err
    assert not page.exists()
    assert main(with_table) == 0
    assert main(["report", str(trained / "output"), "--page", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "Training" in text
    assert f"train -c {trained / 'config.yaml'}" in text  # kept beside what it has made


def test_a_page_that_fails_is_a_warning_and_the_run_is_done(tmp_path, monkeypatch, capsys):
    config = make_project(tmp_path)

    def broken(*args):
        raise ZeroDivisionError("in a drawing")

    monkeypatch.setattr(write, "write", broken)
    options = ["-o", "Global.epochs=1", "-o", "Global.eval_during_train=False", "-o", "Metric=null"]
    assert main(["train", "-c", str(config), *options]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "report.html" in line]
    assert len(told) == 1
    assert "WARNING no page" in told[0]
    assert "in a drawing" in told[0]


def test_a_run_that_is_refused_leaves_no_command_and_no_curves(tmp_path, capsys):
    pytest.importorskip("tensorboardX")
    config = make_project(tmp_path)
    options = ["-o", "Global.use_tensorboard=True", "-o", "Arch.class_num=2"]
    assert main(["train", "-c", str(config), *options]) == 2
    assert "label 2 is outside 0 .. 1" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "output").rglob("*") if path.is_file()} <= {"train.log"}


def test_of_several_runs_in_a_folder_one_has_to_be_named(tmp_path, capsys):
    for name in ("First", "Second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "history.jsonl").write_text("")
    assert main(["report", str(tmp_path)]) == 2
    assert f"{tmp_path} holds the runs First, Second; name one" in capsys.readouterr().err


def test_what_was_done_last_in_a_folder_is_what_its_page_tells_of(tmp_path):
    step = {"kind": "fold", "version": 1, "merged": ["a"], "folded": [], "biased": []}
    for name, steps, second in (("quantized", [step], 20), ("latest", [], 10), ("best_model", [], 5)):
        file = tmp_path / f"{name}.slim.json"
        file.write_text(json.dumps({**empty_record(), "steps": steps}))
        os.utime(file, (second, second))
    assert runs.trained("net", tmp_path).record["steps"] == [step]
    os.utime(tmp_path / "latest.slim.json", (30, 30))  # trained anew
    assert runs.trained("net", tmp_path).record["steps"] == []


def test_what_is_damaged_is_told_by_file_and_line(tmp_path):
    folder = tmp_path / "Net"
    folder.mkdir()
    line = {"epoch": 1, "loss": 1, "lr": 1, "metrics": {}, "evaluation": {}, "main": "top1", "best_epoch": 0}
    bad = {**line, "lr": float("nan")}
    (folder / "history.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(bad) + "\n")
    with pytest.raises(UserError, match=r"history.jsonl, line 2: .* nan is no number that can be drawn"):
        runs.trained("net", tmp_path)
    (folder / "history.jsonl").write_text('{"epoch": 1, "loss": "much"}\n')
    with pytest.raises(UserError, match=r"history.jsonl, line 1: not what training writes there"):
        runs.trained("net", tmp_path)


def test_epochs_of_quantizers_are_read_and_damage_is_told(tmp_path):
    row = {"layer": "conv", "limit": 2.0, "clip_rate": None, "alpha": 2.0}
    file = tmp_path / "quantizers.jsonl"
    file.write_text(json.dumps({"epoch": 1, "layers": [row]}) + "\n")
    assert runs._lines([tmp_path], file.name, runs._ranges) == [{"epoch": 1, "layers": [("conv", 2.0, 0.0)]}]
    file.write_text('{"epoch": 1, "layers": 3}\n')
    with pytest.raises(UserError, match=r"quantizers.jsonl, line 1: not what training writes there"):
        runs._lines([tmp_path], file.name, runs._ranges)
